"""Time from a POST to the start of the benchmark on an idle fleet: the cost of queue and claim."""

import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import Connection, text

from testing.fleet.devices import mixed_fleet, request
from testing.fleet.fleet import simulated_fleet
from testing.fleet.service import service

WORKERS, JOBS, WARM_UP_JOBS = 32, 200, 20

#: Pause after a job has ended, so that all workers are idle again.
PAUSE_SECONDS = 0.1

#: A job for any GPU wakes 24 workers, one for a CPU 8.
KINDS: dict[str, dict[str, Any]] = {"any_gpu": {"device": "cuda"}, "h200": {"gpu": "H200"}, "cpu": {"device": "cpu"}}


def measure(workers: int = WORKERS, jobs: int = JOBS) -> dict[str, object]:
    """Milliseconds from the transaction of a POST, and from the client's sending it, to the start of the benchmark."""
    with service() as running, simulated_fleet(running.url, mixed_fleet(workers)) as fleet:
        fleet.until_online(running.http)
        with running.engine.connect() as connection:
            taken = list(_post_one_by_one(running.http, connection, WARM_UP_JOBS + jobs))[WARM_UP_JOBS:]
    by_kind = {kind: [moments for name, moments in taken if name == kind] for kind in KINDS}
    rows = {"all": _row([moments for _, moments in taken])} | {kind: _row(values) for kind, values in by_kind.items()}
    return {"workers": workers, "jobs": jobs, "pause_seconds": PAUSE_SECONDS, "milliseconds": rows}


def _post_one_by_one(
    http: httpx.Client, connection: Connection, jobs: int
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Kind of each job, and its seconds from the start of the transaction and from the client's request."""
    for number in range(jobs):
        kind = list(KINDS)[number % len(KINDS)]
        sent = datetime.now(UTC)
        benchmark = http.post("/benchmarks", json=request(number, **KINDS[kind])).raise_for_status().json()
        created, started = _until_ended(connection, benchmark["id"])
        yield kind, ((started - created).total_seconds(), (started - sent).total_seconds())
        time.sleep(PAUSE_SECONDS)


def _until_ended(connection: Connection, identity: str) -> tuple[datetime, datetime]:
    """When the benchmark was created and started, by the database's clock. Polls seldom: queries cost time."""
    query = text("SELECT created_at, started_at, finished_at FROM benchmarks WHERE id = CAST(:id AS uuid)")
    while True:
        created, started, finished = connection.execute(query, {"id": identity}).one()
        connection.rollback()
        if finished is not None:
            return created, started
        time.sleep(0.1)


def _row(seconds: Sequence[tuple[float, float]]) -> dict[str, float]:
    from_transaction, from_client = ([1000 * moment for moment in moments] for moments in zip(*seconds, strict=True))
    figures = {"": from_transaction, "from_client_": from_client}
    return {
        f"{prefix}{name}": round(value, 1)
        for prefix, values in figures.items()
        for name, value in {"p50": statistics.median(values), "p99": _p99(values), "largest": max(values)}.items()
    }


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[98]
