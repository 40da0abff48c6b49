"""`python -m testing.first_contact`: the first program to run on a new kind of GPU. Needs Python, torch, few wheels.

Exit code 0: every stage ran, or had no time. 1: a stage crashed. 2: it cannot run with these arguments or wheels.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from testing.first_contact.wheels import PYTEST_WHEELS, WHEELS, how_to_fetch, what_is_missing

#: Folder of the repository's results; each device has a folder in it.
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "first_contact"


def main() -> int:
    """Run the stages, or read an existing record."""
    began = time.monotonic()
    arguments = _arguments().parse_args()
    if arguments.wheels:
        print(how_to_fetch([*WHEELS.values(), *PYTEST_WHEELS.values()]), end="")
        return 0
    missing = what_is_missing()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    if arguments.read is not None:
        return _summarise(arguments.read)
    from worker.device.detection import detect  # noqa: PLC0415 # after the check for missing wheels

    try:
        device = detect(arguments.device)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return _run(device.name, arguments.budget, arguments.output or RESULTS / _folder(device.gpu or "cpu"), began)


def _run(device: str, budget_seconds: float, folder: Path, began: float) -> int:
    import anyio  # noqa: PLC0415 # after the check for missing wheels

    from testing.first_contact import record, run  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for name in (record.NAME, "report.json", "report.md", "summary.txt"):
        (folder / name).unlink(missing_ok=True)  # from an earlier run
    anyio.run(run.run, device, budget_seconds, folder, record.Record(folder / record.NAME, began))
    return _summarise(folder)


def _summarise(folder: Path) -> int:
    """Print the summary of a record and save it next to it."""
    from testing.first_contact import record  # noqa: PLC0415
    from testing.first_contact.summary import crashed, summary  # noqa: PLC0415

    path = folder / record.NAME
    if not path.exists():
        print(f"There is no record in {folder}.", file=sys.stderr)
        return 2
    lines = record.read(path)
    text = summary(lines)
    (folder / "summary.txt").write_text(text)
    print(f"{text}Record: {path}")
    return 1 if crashed(lines) else 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testing.first_contact", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="`cuda:0` by default; `cpu` for a dry run")
    parser.add_argument("--budget", type=_seconds, default=480.0, help="seconds, 480 by default")
    parser.add_argument("--output", type=Path, help="folder; benchmarks/results/first_contact/DEVICE by default")
    parser.add_argument("--read", type=Path, metavar="FOLDER", help="summarise an existing record and run nothing")
    parser.add_argument("--wheels", action="store_true", help="print the commands that fetch all wheels, with pytest")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("must be from 1 to 86400 seconds")
    return seconds


def _folder(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")


if __name__ == "__main__":
    sys.exit(main())
