"""Memory of the API process after its start and after some requests, and duration of its start."""

import time
from pathlib import Path

import psutil

from testing.api_process import MIB, served_api, temporary_folder

REQUESTS = 500


def measure() -> dict[str, object]:
    """Resident and private (unique) memory in MiB; start in seconds on a database that already exists."""
    with temporary_folder() as folder:
        _served(folder)
        return _served(folder)


def _served(folder: Path) -> dict[str, object]:
    began = time.perf_counter()
    with served_api(folder) as (api, http):
        start_seconds = time.perf_counter() - began
        at_start = _memory(api)
        for _ in range(REQUESTS):
            benchmark = http.post("/benchmarks", json={"model": {"kind": "transformer"}}).json()
            http.get(f"/benchmarks/{benchmark['id']}")
            http.get("/benchmarks")
        after = _memory(api)
    return {"requests": 3 * REQUESTS, "start_seconds": start_seconds, "at_start": at_start, "after_requests": after}


def _memory(api: psutil.Process) -> dict[str, float]:
    memory = api.memory_full_info()
    return {"resident_mib": round(memory.rss / MIB, 1), "private_mib": round(memory.uss / MIB, 1)}
