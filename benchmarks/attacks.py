"""What the attack list costs a running API: time per refusal, and memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from app.cli.running import free_port
from benchmarks.api_memory import MIB, until_ready
from tests.attacks import ATTACKS


def measure() -> dict[str, object]:
    """Seconds until each is refused, and how much the process has grown by the end of the list."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        port = free_port()
        environment = os.environ | {"HALFTIME_DATA_DIR": folder, "HALFTIME_PORT": str(port)}
        command = [sys.executable, "-m", "app.cli", "serve"]
        with (
            subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as api,
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            until_ready(http)
            before = psutil.Process(api.pid).memory_info().rss
            seconds = {name: _refuse(http, body) for name, (body, _) in ATTACKS.items()}
            grown = psutil.Process(api.pid).memory_info().rss - before
            api.terminate()
    slowest = max(seconds, key=lambda name: seconds[name])
    return {
        "attacks": len(seconds),
        "slowest": slowest,
        "slowest_seconds": seconds[slowest],
        "grown_mib": round(grown / MIB, 1),
        "seconds": seconds,
    }


def _refuse(http: httpx.Client, body: dict[str, object]) -> float:
    began = time.perf_counter()
    response = http.post("/benchmarks", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    return time.perf_counter() - began
