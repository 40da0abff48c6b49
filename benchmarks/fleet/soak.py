"""Simulated work for a long time: whether memory, connections and open files stay constant.

`HALFTIME_SOAK_MINUTES` sets the duration: 30 by default.
"""

import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import text

from testing.fleet.devices import mixed_fleet, mixed_requests
from testing.fleet.fleet import Fleet, simulated_fleet
from testing.fleet.ledger import ledger_of
from testing.fleet.processes import Parts, open_files, private_mib
from testing.fleet.service import Service, service
from testing.processes import postmaster_of

WORKERS = 8

#: Trials take as long as real ones: the question is whether anything grows, not how fast jobs run.
TIME_SCALE = 1.0

SAMPLE_SECONDS = 10.0

#: Span of one point of the course in the result.
COURSE_MINUTES = 2.0

#: Share of the samples to leave out: caches fill, pools open.
WARM_UP_SHARE = 0.1

#: Queued jobs during the run: enough that no worker is idle for long.
WAITING = 20

Sample = dict[str, float]


def measure(minutes: float | None = None) -> dict[str, object]:
    """First and last third of the samples, slope, and extremes of each figure that must not grow."""
    minutes = float(os.environ.get("HALFTIME_SOAK_MINUTES", "30")) if minutes is None else minutes
    with service() as running, simulated_fleet(running.url, mixed_fleet(WORKERS), TIME_SCALE) as fleet:
        fleet.until_online(running.http)
        stop = threading.Event()
        clients = [threading.Thread(target=act, args=(running, stop)) for act in (_post_for_good, _read_for_good)]
        for client in clients:
            client.start()
        try:
            samples = list(_samples(running, fleet, 60 * minutes))
        finally:
            stop.set()
            for client in clients:
                client.join()
        running.until_all_ended()
        with running.engine.connect() as connection:
            ledger = ledger_of(connection)
    assert not ledger.faults, ledger.faults[:10]
    kept = samples[int(WARM_UP_SHARE * len(samples)) :]
    return {
        "minutes": minutes,
        "workers": WORKERS,
        "jobs": ledger.benchmarks,
        "statuses": dict(ledger.statuses),
        "samples": len(kept),
        "figures": {
            name: _trend([(one["minute"], one[name]) for one in kept]) | _range([one[name] for one in samples])
            for name in kept[0]
            if name != "minute"
        },
        "course": _course(samples),
    }


def _post_for_good(running: Service, stop: threading.Event) -> None:
    """Keep some jobs queued until `stop`."""
    requests = mixed_requests(seed=3)
    while not stop.is_set():
        missing = WAITING - running.unfinished()
        running.post(list(itertools.islice(requests, max(0, missing))))
        stop.wait(0.2)


def _read_for_good(running: Service, stop: threading.Event) -> None:
    """Send the requests of all kinds of clients: lists, one benchmark, its events and its report, workers, metrics."""
    while not stop.is_set():
        items: list[dict[str, Any]] = running.http.get("/benchmarks?limit=20").raise_for_status().json()["items"]
        for path in ("/workers", "/metrics", *(f"/benchmarks/{item['id']}{end}" for item, end in _paths(items))):
            running.http.get(path).raise_for_status()
        stop.wait(0.5)


def _paths(items: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    for item in items[-3:]:
        yield item, "?wait=1"
        yield item, "/events"
        if item["status"] == "succeeded":
            yield item, "/report"


def _samples(running: Service, fleet: Fleet, seconds: float) -> Iterator[Sample]:
    parts = Parts(running.api, list(fleet.workers.values()), postmaster_of(running.data_dir))
    began = time.monotonic()
    for number in itertools.count(1):
        yield {"minute": (time.monotonic() - began) / 60, **{name: take() for name, take in _figures(running, parts)}}
        due = began + number * SAMPLE_SECONDS
        if due > began + seconds:
            return
        time.sleep(max(0.0, due - time.monotonic()))


def _figures(running: Service, parts: Parts) -> list[tuple[str, Callable[[], float]]]:
    each = [(f"worker_{number}_mib", process) for number, process in enumerate(parts.workers)]
    return [
        ("api_mib", lambda: private_mib([parts.api])),
        *((name, lambda process=process: private_mib([process])) for name, process in each),
        ("postgresql_mib", lambda: private_mib(parts.postmaster.children())),
        ("connections", lambda: _connections(running)),
        ("api_files", lambda: open_files(parts.api)),
        ("workers_files", lambda: sum(map(open_files, parts.workers))),
    ]


def _connections(running: Service) -> float:
    with running.engine.connect() as connection:
        query = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        return float(connection.execute(query).scalar_one())


def _course(samples: list[Sample]) -> dict[str, list[float]]:
    """Largest private memory of each part in every two minutes; for workers their sum."""
    step = max(1, round(60 * COURSE_MINUTES / SAMPLE_SECONDS))
    spans = [samples[first : first + step] for first in range(0, len(samples), step)]
    parts: dict[str, Callable[[Sample], float]] = {
        "api_mib": lambda one: one["api_mib"],
        "workers_mib": lambda one: sum(one[f"worker_{number}_mib"] for number in range(WORKERS)),
        "postgresql_mib": lambda one: one["postgresql_mib"],
    }
    minutes = {"from_minute": [round(span[0]["minute"], 2) for span in spans]}
    return minutes | {name: [round(max(map(take, span)), 2) for span in spans] for name, take in parts.items()}


def _range(values: list[float]) -> dict[str, float]:
    """Start, end and extremes of all samples, including those of the warm-up."""
    figures = {"start": values[0], "end": values[-1], "smallest": min(values), "largest": max(values)}
    return {name: round(value, 2) for name, value in figures.items()}


def _trend(points: list[tuple[float, float]]) -> dict[str, float]:
    """Medians of the first and the last third, and the slope of a regression line."""
    third = max(1, len(points) // 3)
    minutes, values = zip(*points, strict=True)
    slope = statistics.linear_regression(minutes, values).slope if len(points) > 1 else 0.0
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return {
        "first_third": round(first, 2),
        "last_third": round(last, 2),
        "change_percent": round(100 * (last - first) / first, 2),
        "slope_per_hour": round(60 * slope, 2),
    }
