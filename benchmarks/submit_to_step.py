"""Time from a POST to the first training step, with a worker that has already run a job."""

import statistics
import time
from datetime import UTC, datetime

from app.cli.own_service import own_service
from halftime.client import Client

JOBS = 12
REQUEST = {
    "model": {"kind": "mlp"},
    "config": {
        "device": "auto",
        "training": {"batch_size": 16, "steps": 4, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}


def measure() -> dict[str, object]:
    """Seconds for jobs posted one after the other to an idle service."""
    with own_service() as address, Client(address) as client:
        _run(client)
        seconds = [_run(client) for _ in range(JOBS)]
    return {
        "jobs": JOBS,
        "median_seconds": statistics.median(seconds),
        "smallest_seconds": min(seconds),
        "largest_seconds": max(seconds),
    }


def _run(client: Client) -> float:
    posted_at = datetime.now(UTC)
    benchmark = client.submit(REQUEST)
    *_, last = client.watch(benchmark.id, every_seconds=0.1)
    assert last.status == "succeeded", last.failure
    time.sleep(1)  # lets the service become idle again
    return (client.report(benchmark.id).baseline.trials[0].training_started_at - posted_at).total_seconds()
