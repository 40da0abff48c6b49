"""`python -m testing.fleet.worker`: forks a process for each simulated worker from one that has loaded everything.

Reads one JSON object for each worker from standard input, `{"id": …, "device": {…}, "time_scale": 0.02}`, and prints
the process id of each. At the end of its input it stops them gracefully and ends. The settings name the database;
the workers log to standard error.
"""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from typing import NoReturn

from pydantic import BaseModel

from app.observability.logs import configure_logs
from app.settings import Settings
from halftime.contract.resources.worker import WorkerDevice
from testing.fleet.launcher import TIME_SCALE, SimulatedLauncher
from worker.agent.worker import run_worker

PR_SET_PDEATHSIG = 1


class WorkerSpec(BaseModel):
    """One worker to start."""

    id: str
    device: WorkerDevice
    #: See `SimulatedLauncher`.
    time_scale: float = TIME_SCALE


def main() -> None:
    """Start workers until the input ends; then stop them and wait for their end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for their exit status: no zombies
    gc.freeze()  # keeps the pages of loaded code shared
    started = []
    for line in sys.stdin:
        started.append(_fork(WorkerSpec.model_validate_json(line)))
        print(started[-1], flush=True)
    for pid in started:
        _signal(pid, signal.SIGTERM)
    _wait_for_all()


def _fork(spec: WorkerSpec) -> int:
    pid = os.fork()
    if pid == 0:
        _run_child(spec)
    return pid


def _run_child(spec: WorkerSpec) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # If this process's parent is killed, SIGTERM stops the worker too.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.close(sys.stdin.fileno())
        settings = Settings()
        configure_logs(settings.log_format)
        launcher = SimulatedLauncher(spec.device, spec.time_scale)
        asyncio.run(run_worker(settings, spec.device, launcher, spec.id))
        status = 0
    finally:
        sys.stderr.flush()
        os._exit(status)


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return


def _wait_for_all() -> None:
    """Wait for all children: with SIGCHLD ignored, `wait` fails once none is left."""
    try:
        os.wait()
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
