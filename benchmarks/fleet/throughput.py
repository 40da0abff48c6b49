"""5,000 mixed jobs on 32 simulated workers, each once and in order; and jobs per second against the number of workers.

Everything except training is measured: HTTP, queue, claims, events, leases and reports.
"""

import itertools
import time
from typing import Any

from sqlalchemy import text

from halftime.contract.resources.worker import WorkerDevice
from testing.fleet.devices import H200, mixed_fleet, mixed_requests, request
from testing.fleet.fleet import simulated_fleet
from testing.fleet.launcher import TIME_SCALE
from testing.fleet.ledger import ledger_of
from testing.fleet.processes import Parts, cpu_seconds
from testing.fleet.record import install, order_of
from testing.fleet.service import Service, service
from testing.processes import postmaster_of

WORKERS, JOBS = 32, 5000

#: Jobs queued when the workers start: priorities have an effect only in a queue.
WAITING = 4000

#: Number of workers: jobs of its measurement.
CURVE = {1: 200, 2: 400, 4: 600, 8: 800, 16: 800, 32: 800}

#: Shares of jobs that end while the fleet starts and stops, and are not timed.
FIRST_SHARE, LAST_SHARE = 0.2, 0.1


def measure() -> dict[str, object]:
    """The large run, and one point of the curve for each number of workers."""
    return {
        "time_scale": TIME_SCALE,
        "run": measure_run(WORKERS, JOBS, WAITING),
        "curve": [measure_point(workers, jobs) for workers, jobs in CURVE.items()],
    }


def measure_run(workers: int, jobs: int, waiting: int) -> dict[str, object]:
    """Post jobs of mixed kinds and priorities. Raises AssertionError if one does not end as its seed determines."""
    requests = list(itertools.islice(mixed_requests(seed=1), jobs))
    with service() as running:
        with running.engine.begin() as connection:
            install(connection)
        posts_per_second = running.post(requests[:waiting])
        rate = _worked_off(running, mixed_fleet(workers), requests[waiting:])
        with running.engine.connect() as connection:
            ledger, order = ledger_of(connection), order_of(connection)
    assert not ledger.faults, ledger.faults[:10]
    assert not order.out_of_order, order.out_of_order[:10]
    return {
        "workers": workers,
        "jobs": ledger.benchmarks,
        "waiting_at_the_start": waiting,
        "posts_per_second": round(posts_per_second, 1),
        **rate,
        "attempts": ledger.attempts,
        "statuses": dict(ledger.statuses),
        "failures": dict(ledger.failures),
        "ledger_faults": len(ledger.faults),
        "fetches": order.fetches,
        "fetches_not_attributed": order.unattributed,
        "pairs_in_which_priority_changed_the_order": order.overtaken,
        "fetches_out_of_order": len(order.out_of_order),
    }


def measure_point(workers: int, jobs: int) -> dict[str, object]:
    """Jobs per second of this many identical workers while the queue is full."""
    with service() as running:
        running.post([_for_h200(number) for number in range(jobs)])
        return {"workers": workers, "jobs": jobs, **_worked_off(running, [H200] * workers, [])}


def _for_h200(number: int) -> dict[str, Any]:
    config: dict[str, Any] = [{}, {"gpu": "H200"}, {"min_gpu_memory_gib": 80}][number % 3]
    return request(number, priority=number % 4, device="cuda", **config)


def _worked_off(running: Service, devices: list[WorkerDevice], late: list[dict[str, Any]]) -> dict[str, object]:
    """Start the workers, post the late jobs, wait until all have ended; return the rate and the cores used by part."""
    with simulated_fleet(running.url, devices) as fleet:
        parts = Parts(running.api, list(fleet.workers.values()), postmaster_of(running.data_dir))
        before, began = cpu_seconds(parts), time.perf_counter()
        running.post(late)
        running.until_all_ended()
        seconds = time.perf_counter() - began
        after = cpu_seconds(parts)
    return {
        "jobs_per_second": round(_rate(running), 2),
        "cores_used": {part: round((after[part] - before[part]) / seconds, 2) for part in after},
    }


def _rate(running: Service) -> float:
    """Jobs ended per second, without the start and end of the run."""
    with running.engine.connect() as connection:
        ended = list(connection.scalars(text("SELECT finished_at FROM benchmarks ORDER BY finished_at")))
    first, last = int(FIRST_SHARE * len(ended)), int((1 - LAST_SHARE) * len(ended)) - 1
    return (last - first) / (ended[last] - ended[first]).total_seconds()
