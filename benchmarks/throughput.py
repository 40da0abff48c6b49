"""Reads and submits under load, compared with a bare FastAPI route with one SELECT on the same database.

Each is served by its own process with one event loop; `wrk` (https://github.com/wg/wrk), which must be installed,
loads them in turns, in counterbalanced order. The load is bounded: SECONDS per turn, CONNECTIONS at once.
"""

import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from app.cli.own_service import free_port
from app.settings import Settings
from app.store.database.connection import located
from testing.api_process import temporary_folder, until_ready

SECONDS, CONNECTIONS, ROUNDS = 4, 16, 4
REQUEST = {"model": {"kind": "transformer"}, "config": {"device": "cpu"}}

FIGURES = re.compile(r"99%\s+([\d.]+)(us|ms|s)\b.*?Requests/sec:\s+([\d.]+)", re.DOTALL)
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure() -> dict[str, object]:
    """Requests per second and 99th percentile of the latency of each, and the ratios to the bare route."""
    if shutil.which("wrk") is None:
        raise RuntimeError("this benchmark needs `wrk`: apt-get install wrk")
    with _servers() as (ours, bare), tempfile.TemporaryDirectory() as folder:
        benchmark = httpx.post(f"{ours}/benchmarks", json=REQUEST).raise_for_status()
        place = benchmark.headers["Location"]
        tag = httpx.get(f"{ours}{place}").headers["ETag"]
        submit = Path(folder) / "submit.lua"
        submit.write_text(
            f"wrk.method = 'POST'\nwrk.body = '{json.dumps(REQUEST)}'\n"
            "wrk.headers['Content-Type'] = 'application/json'\n"
        )
        loads = {
            "bare_select": [f"{bare}/one{place.removeprefix('/benchmarks')}"],
            "bare_again": [f"{bare}/one{place.removeprefix('/benchmarks')}"],
            "get": [f"{ours}{place}"],
            "get_304": [f"{ours}{place}", "-H", f"If-None-Match: {tag}"],
            "list": [f"{ours}/benchmarks?limit=20"],
            "submit": [f"{ours}/benchmarks", "-s", str(submit)],
        }
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in loads}
        # Submits come last: they fill the queue, in which the benchmark that is read would stand.
        for names in (["bare_select", "get", "get_304", "list"], ["bare_again", "submit"]):
            for turn in range(ROUNDS):
                for name in names[:: 1 if turn % 2 == 0 else -1]:
                    samples[name].append(_load(loads[name]))
    rows = {
        name: _row(taken, samples["bare_again" if name in {"bare_again", "submit"} else "bare_select"])
        for name, taken in samples.items()
    }
    return {"seconds": SECONDS, "connections": CONNECTIONS, "rounds": ROUNDS, "routes": rows}


def _load(arguments: list[str]) -> tuple[float, float]:
    """Requests per second, and the 99th percentile in milliseconds."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx or 3xx" not in printed, printed
    match = FIGURES.search(printed)
    assert match, printed
    return float(match[3]), float(match[1]) * MILLISECONDS[match[2]]


def _row(taken: list[tuple[float, float]], bare: list[tuple[float, float]]) -> dict[str, object]:
    ratios = [ours[0] / theirs[0] for ours, theirs in zip(taken, bare, strict=True)]
    return {
        "requests_per_second": statistics.median(rate for rate, _ in taken),
        "p99_milliseconds": statistics.median(latency for _, latency in taken),
        "over_bare": statistics.median(ratios),
        "over_bare_smallest": min(ratios),
        "over_bare_largest": max(ratios),
    }


@contextlib.contextmanager
def _servers() -> Iterator[tuple[str, str]]:
    """Run the API and the bare route on one embedded PostgreSQL; yield their addresses."""
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        # `located` stays open here, so that the database outlives both servers.
        url = stack.enter_context(located(Settings(data_dir=folder, database_url=None)))
        environment = os.environ | {
            "HALFTIME_DATABASE_URL": url.set(drivername="postgresql").render_as_string(hide_password=False),
            "HALFTIME_LOG_FORMAT": "json",
            "HALFTIME_MAX_QUEUED": "1000000",
        }
        addresses = []
        for module in (["app.cli", "serve"], ["benchmarks.bare_route"]):
            port = free_port()
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env=environment | {"HALFTIME_PORT": str(port)},
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            addresses.append(f"http://127.0.0.1:{port}")
            with httpx.Client(base_url=addresses[-1]) as http:
                until_ready(http)
        yield addresses[0], addresses[1]
