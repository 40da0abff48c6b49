"""The build of torch for the images: where this environment has one for the CPU, theirs is the same."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

from testing.images.commands import run

#: The same in each run, since the address is part of what a layer is cached by.
PORT = 8990


@contextlib.contextmanager
def torch_index(folder: Path) -> Iterator[str]:
    """TORCH_INDEX_URL as it is set; else an index on loopback of the CPU build that pip finds here; else none."""
    told = os.environ.get("TORCH_INDEX_URL", "")
    if told or not version("torch").endswith("+cpu"):
        yield told
        return
    wheels = folder / "index" / "torch"
    if not list(wheels.glob("*.whl")):
        public = version("torch").partition("+")[0]
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, f"torch=={public}")
    handler = partial(_Quiet, directory=str(wheels.parent))
    with ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{PORT}/"
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
