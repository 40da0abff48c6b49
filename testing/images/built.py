"""The images: build time and size of each."""

import json
import time
from pathlib import Path

from testing.images.containers import tag
from testing.images.engine import Engine
from testing.images.record import Record

ROOT = Path(__file__).parents[2]

#: In the order of the Dockerfile: each reuses the layers of those before.
TARGETS = ["api", "worker", "halftime"]


def check(engine: Engine, record: Record, torch_index_url: str) -> None:
    """Build the Dockerfile unchanged. Raises CommandFailed, since no other check can run then."""
    for target in TARGETS:
        began = time.monotonic()
        argument = f"TORCH_INDEX_URL={torch_index_url}"
        options = ["--network", "host", "--build-arg", argument, "--target", target, "--tag", tag(target)]
        engine.docker("build", "--quiet", *options, ROOT)
        seconds = round(time.monotonic() - began, 1)
        size = int(engine.docker("image", "inspect", "--format", "{{.Size}}", tag(target)))
        code = _layer_bytes(engine, target, "COPY /opt/code ")
        record.note(f"built: {target}", True, seconds=seconds, bytes=size, bytes_of_our_code=code)


def _layer_bytes(engine: Engine, target: str, made_by: str) -> int:
    """Size of the layer that a step of the Dockerfile made."""
    history = engine.docker("history", "--no-trunc", "--human=false", "--format", "{{json .}}", tag(target))
    layers = [json.loads(line) for line in history.splitlines()]
    (size,) = [int(layer["Size"]) for layer in layers if made_by in layer["CreatedBy"]]
    return size
