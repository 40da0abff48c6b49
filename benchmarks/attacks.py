"""Cost of the attack list for a running API: time per refusal, and memory."""

import json
import time

import httpx

from testing.api_process import MIB, served_api, temporary_folder
from testing.attacks import ATTACKS


def measure() -> dict[str, object]:
    """Seconds until each request is refused, and growth of the process by the end of the list."""
    with temporary_folder() as folder, served_api(folder) as (api, http):
        before = api.memory_info().rss
        seconds = {name: _refuse(http, body) for name, (body, _) in ATTACKS.items()}
        grown = api.memory_info().rss - before
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
