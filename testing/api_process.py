"""A running API for benchmarks: a process of its own on an embedded PostgreSQL of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from app.cli.own_service import free_port

PATIENCE_SECONDS = 60
MIB = 2**20


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """For an embedded PostgreSQL, which runs as a user of its own and must reach it."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def served_api(data_dir: Path) -> contextlib.AbstractContextManager[tuple[psutil.Process, httpx.Client]]:
    """`halftime serve` on a data directory, and a client of it; returns when it answers."""
    return served(HALFTIME_DATA_DIR=str(data_dir))


@contextlib.contextmanager
def served(**settings: str) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    """`halftime serve` with these settings, and a client of it; returns when it answers."""
    port = free_port()
    environment = os.environ | settings | {"HALFTIME_PORT": str(port)}
    command = [sys.executable, "-m", "app.cli", "serve"]
    # The client first: what fails between the start of a process and its end leaves it running.
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
    """Returns when the API answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError("the API did not start")
