"""A service with simulated workers: PostgreSQL, the API, and any number of worker processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

import httpx
import psutil
from sqlalchemy import URL

from app.store.database.connection import libpq_url
from halftime.contract.resources.worker import WorkerDevice
from testing.fleet.launcher import TIME_SCALE
from testing.fleet.worker import WorkerSpec
from testing.waiting import wait_until


class Fleet:
    """Simulated workers, and the process that forks them."""

    def __init__(self, forker: "subprocess.Popen[str]", time_scale: float) -> None:
        self._forker, self._time_scale = forker, time_scale
        self.workers: dict[str, psutil.Process] = {}

    def start(self, device: WorkerDevice, worker_id: str) -> psutil.Process:
        """Start one more worker. It registers a moment later."""
        assert self._forker.stdin is not None and self._forker.stdout is not None
        spec = WorkerSpec(id=worker_id, device=device, time_scale=self._time_scale)
        self._forker.stdin.write(spec.model_dump_json() + "\n")
        self._forker.stdin.flush()
        started = self.workers[worker_id] = psutil.Process(int(self._forker.stdout.readline()))
        return started

    def until_online(self, http: httpx.Client) -> None:
        """Return when every worker is registered. Raises TimeoutError."""
        wait_until(lambda: self.workers.keys() <= _online(http), "the workers", pause_seconds=0.1)


def _online(http: httpx.Client) -> set[str]:
    items = http.get("/workers").raise_for_status().json()["items"]
    return {worker["id"] for worker in items if worker["state"] != "offline"}


@contextlib.contextmanager
def simulated_fleet(
    database: URL, devices: Sequence[WorkerDevice], time_scale: float = TIME_SCALE, **environment: str
) -> Iterator[Fleet]:
    """Run one worker for each device on a database, named `sim-00` and so on; stop them gracefully."""
    everything = os.environ | {
        "HALFTIME_DATABASE_URL": libpq_url(database),
        "HALFTIME_LOG_FORMAT": "json",
        "OPENBLAS_NUM_THREADS": "1",  # a process with threads must not fork
    }
    command = [sys.executable, "-m", "testing.fleet.worker"]
    with subprocess.Popen(
        command,
        env=everything | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as forker:
        fleet = Fleet(forker, time_scale)
        for number, device in enumerate(devices):
            fleet.start(device, f"sim-{number:02}")
        yield fleet
