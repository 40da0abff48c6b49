"""Memory of the API process: after it starts, and after it has served for a while; and how long its start takes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from app.cli.running import free_port

REQUESTS = 500
PATIENCE_SECONDS = 60
MIB = 2**20


def measure() -> dict[str, object]:
    """Resident and private (unique) memory in MiB, start in seconds on a database that exists already."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        _served(folder)
        return _served(folder)


def _served(folder: str) -> dict[str, object]:
    port = free_port()
    environment = os.environ | {"HALFTIME_DATA_DIR": folder, "HALFTIME_PORT": str(port)}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve"], env=environment, stderr=subprocess.DEVNULL
    ) as api:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            until_ready(http)
            start_seconds = time.perf_counter() - began
            at_start = _memory(api.pid)
            for _ in range(REQUESTS):
                made = http.post("/benchmarks", json={"model": {"kind": "transformer"}}).json()
                http.get(f"/benchmarks/{made['id']}")
                http.get("/benchmarks")
            after = _memory(api.pid)
        api.terminate()
    return {"requests": 3 * REQUESTS, "start_seconds": start_seconds, "at_start": at_start, "after_requests": after}


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


def _memory(pid: int) -> dict[str, float]:
    memory = psutil.Process(pid).memory_full_info()
    return {"resident_mib": round(memory.rss / MIB, 1), "private_mib": round(memory.uss / MIB, 1)}
