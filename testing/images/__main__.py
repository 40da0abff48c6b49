"""`make images`: builds the images, runs them, and writes `benchmarks/results/images.cpu.json`.

Exit code 0: all checks hold. 1: one does not. 2: there is no engine, and none can be unpacked here.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from testing.images import all_in_one, built, composed, refusals, standins
from testing.images.commands import CommandFailed
from testing.images.containers import tag
from testing.images.engine import Engine, NoEngine, engine
from testing.images.record import Record
from testing.images.torch_index import torch_index
from testing.machine import machine

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "images.cpu.json"


def main() -> int:
    """Find an engine, run all checks and write the results."""
    parser = argparse.ArgumentParser(prog="python -m testing.images", description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder that keeps downloads and builds for the next run")
    parser.add_argument("--output", type=Path, default=RESULT, help="file for the summary")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the engine's changes are undone
    facts, record = machine(), Record()
    try:
        with _folder(arguments.folder) as folder, engine(folder) as running:
            made_of = _check(running, record, folder)
    except NoEngine as error:
        print(error, file=sys.stderr)
        return 2
    summary = {"machine": facts, **made_of, "seconds": record.seconds(), "holds": record.holds, "checks": record.checks}
    arguments.output.write_text(json.dumps(summary, indent=2) + "\n")
    print(f"{arguments.output}: {'all checks hold' if record.holds else 'a check failed'}")
    return 0 if record.holds else 1


def _check(running: Engine, record: Record, folder: Path) -> dict[str, object]:
    """Run all checks; return facts about engine and base images. Everything made on the engine is removed."""
    there = {image for image in (standins.PYTHON, standins.POSTGRES) if running.has(image)}
    made_of: dict[str, object] = {
        "engine": "unpacked from Debian's packages" if running.unpacked else "one that ran",
        "engine_version": running.docker("version", "--format", "{{.Server.Version}}"),
        "compose_version": running.compose("version", "--short"),
    }
    try:
        made_of["python_image"] = standins.python_image(running, folder)
        with torch_index(folder) as url:
            built.check(running, record, url)
            made_of["postgres_image"] = standins.postgres_image(running, folder)
            record.attempt("refusals", partial(refusals.check, running, record))
            record.attempt("all in one", partial(all_in_one.check, running, record))
            record.attempt("compose", partial(composed.check, running, record, folder, url))
    except CommandFailed as error:
        record.note("built", False, error=str(error))
    finally:
        running.outcome("volume", "rm", all_in_one.VOLUME)
        ours = {tag(target) for target in built.TARGETS} | {standins.PYTHON, standins.POSTGRES} - there
        running.outcome("image", "rm", *ours)
    return made_of


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """Use the given folder and keep it, or a temporary one."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="halftime-images-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
