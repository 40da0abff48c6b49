"""The torch build for the images: if this environment has a CPU build, the images get the same."""

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

#: Fixed, because the address is part of a layer's cache key.
PORT = 8990


@contextlib.contextmanager
def torch_index(folder: Path) -> Iterator[str]:
    """Yield TORCH_INDEX_URL if set; else a local index with this environment's CPU build; else an empty string."""
    url = os.environ.get("TORCH_INDEX_URL", "")
    if url or not version("torch").endswith("+cpu"):
        yield url
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
