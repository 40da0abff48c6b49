"""A running API for benchmarks: its own process on its own embedded PostgreSQL."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from app.cli.own_service import free_port
from testing.waiting import wait_until

MIB = 2**20


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Temporary folder that the embedded PostgreSQL, which runs as its own user, can reach."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def served_api(data_dir: Path) -> contextlib.AbstractContextManager[tuple[psutil.Process, httpx.Client]]:
    """Run `halftime serve` on a data directory and yield its process and a client, once it responds."""
    return served(HALFTIME_DATA_DIR=str(data_dir))


@contextlib.contextmanager
def served(**settings: str) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    """Run `halftime serve` with these settings and yield its process and a client, once it responds."""
    port = free_port()
    environment = os.environ | settings | {"HALFTIME_PORT": str(port)}
    command = [sys.executable, "-m", "app.cli", "serve"]
    # The client is made first: an error between the start of the process and `try` would leave the process running.
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
        subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as api,
    ):
        try:
            until_ready(http)
            yield psutil.Process(api.pid), http
        finally:
            api.terminate()


def until_ready(http: httpx.Client) -> None:
    """Return when the API responds. Raises TimeoutError."""
    wait_until(lambda: _ready(http), "the API", pause_seconds=0.01)


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.TransportError:
        return False
