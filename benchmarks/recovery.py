"""Time from the loss of a worker with a running job to the job's start on another one, by the database's clock."""

import contextlib
import statistics
from collections.abc import Callable, Iterator

from app.store.workers import LEASE
from testing.api_process import temporary_folder
from testing.fault_injection.database import View
from testing.fault_injection.fleet import Fleet
from testing.fault_injection.network import NAMES, CuttableNode, two_nodes, why_no_namespaces

DEATHS, CUTS = 8, 4

#: Would run for many minutes, so that it can be interrupted.
LONG = {
    "model": {"kind": "mlp", "hidden_size": 1024},
    "config": {"device": "cpu", "training": {"batch_size": 256, "steps": 10_000}},
}


def measure() -> dict[str, object]:
    """Seconds until the next attempt has started, against the lease; a killed worker is not restarted meanwhile."""
    namespaces = why_no_namespaces() is None
    with temporary_folder() as folder, two_nodes(folder, namespaces=namespaces) as (fleet, nodes, url):
        view = View(url)
        killed = [_seconds(fleet, view, _dead) for _ in range(DEATHS)]
        cut = [_seconds(fleet, view, lambda fleet, name: _cut_off(nodes[name])) for _ in range(CUTS)]
    return {
        "lease_seconds": LEASE.total_seconds(),
        "killed": _row(killed),
        "cut_off": {"by": "network namespaces" if namespaces else "silent proxies"} | _row(cut),
    }


@contextlib.contextmanager
def _dead(fleet: Fleet, name: str) -> Iterator[None]:
    """Kill the worker; the supervisor is suspended, so its node does not start another."""
    worker = fleet.worker(name)
    assert worker is not None
    fleet.supervisor.suspend()
    worker.kill()
    try:
        yield
    finally:
        fleet.supervisor.resume()


@contextlib.contextmanager
def _cut_off(node: CuttableNode) -> Iterator[None]:
    node.cut()
    try:
        yield
    finally:
        node.restore()


def _seconds(fleet: Fleet, view: View, lost: Callable[[Fleet, str], contextlib.AbstractContextManager[None]]) -> float:
    """Seconds from the loss of the worker that runs a new job to the job's next `started` event."""
    fleet.until(lambda: _states(fleet) == {"idle"} and all(fleet.worker(name) for name in NAMES))
    place = fleet.http.post("/benchmarks", json=LONG).raise_for_status().headers["Location"]
    benchmark_id = place.rpartition("/")[2]
    name = fleet.until(lambda: (worker_row := fleet.http.get(place).json()["worker"]) and worker_row["id"])
    fleet.until(lambda: (worker := fleet.worker(name)) and fleet.trials(worker))
    ((lost_at,),) = view.query("SELECT clock_timestamp()")
    with lost(fleet, name):
        fleet.until(lambda: fleet.http.get(place).json()["attempt"] == 2)
    ((started_at,),) = view.query(
        "SELECT created_at FROM events WHERE benchmark_id = %s AND kind = 'started' AND data->>'attempt' = '2'",
        benchmark_id,
    )
    fleet.http.post(f"{place}/cancel").raise_for_status()
    seconds: float = (started_at - lost_at).total_seconds()
    return seconds


def _states(fleet: Fleet) -> set[str]:
    return {row["state"] for row in fleet.http.get("/workers").raise_for_status().json()["items"]}


def _row(seconds: list[float]) -> dict[str, object]:
    longest = max(seconds)
    return {
        "times": len(seconds),
        "smallest_seconds": min(seconds),
        "median_seconds": statistics.median(seconds),
        "largest_seconds": longest,
        "largest_over_lease": longest / LEASE.total_seconds(),
        "seconds": seconds,
    }
