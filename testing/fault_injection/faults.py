"""Faults for a running fleet. Each returns whether it struck: its target may be dead at that moment."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable

import psutil

from app.store.workers import LEASE
from testing.fault_injection.sites import Site
from testing.processes import children

#: Time that the long faults outlast the lease by: long enough for another worker to run the benchmark.
BEYOND_SECONDS = 10.0

Fault = Callable[[Site, random.Random], bool]


def api_killed(site: Site, rng: random.Random) -> bool:
    """SIGKILL the API."""
    return _kill(site.fleet.api())


def worker_killed(site: Site, rng: random.Random) -> bool:
    """SIGKILL a worker; its trial must end with it."""
    return _kill(site.fleet.worker(rng.choice(site.workers)))


def trial_killed(site: Site, rng: random.Random) -> bool:
    """SIGKILL a trial."""
    running = [trial for worker in _workers(site) for trial in site.fleet.trials(worker)]
    return _kill(rng.choice(running)) if running else False


def postmaster_killed(site: Site, rng: random.Random) -> bool:
    """SIGKILL the embedded PostgreSQL's postmaster; its backends notice and exit."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return _kill(site.postmaster())
    return False


def backend_killed(site: Site, rng: random.Random) -> bool:
    """SIGKILL one PostgreSQL backend, which makes the server end all others and recover."""
    backends = site.view.backends()
    with contextlib.suppress(psutil.NoSuchProcess):
        return _kill(psutil.Process(rng.choice(backends))) if backends else False
    return False


def connections_cut(site: Site, rng: random.Random) -> bool:
    """Make the server end all connections at once."""
    return site.view.cut_connections() > 0


def worker_frozen(site: Site, rng: random.Random) -> bool:
    """SIGSTOP a worker beyond its lease, then SIGCONT; with its forkserver and trials, like a frozen node, or alone."""
    busy = [worker for worker in _workers(site) if site.fleet.trials(worker)]
    if not busy:
        return False
    worker = rng.choice(busy)
    frozen = [worker, *(children(worker, recursive=True) if rng.random() < 0.5 else [])]
    _signal(frozen, signal.SIGSTOP)
    time.sleep(LEASE.total_seconds() + BEYOND_SECONDS)
    _signal(frozen, signal.SIGCONT)
    return True


def server_restarted_fast(site: Site, rng: random.Random) -> bool:
    """Restart the external PostgreSQL in fast mode, as for an upgrade: all connections are closed."""
    return _restart(site, "fast")


def server_restarted_immediate(site: Site, rng: random.Random) -> bool:
    """Restart the external PostgreSQL in immediate mode, without a clean shutdown: it recovers."""
    return _restart(site, "immediate")


def proxy_dropped(site: Site, rng: random.Random) -> bool:
    """Reset a worker's connections in its proxy."""
    rng.choice(site.proxies).drop()
    return True


def proxy_stalled(site: Site, rng: random.Random) -> bool:
    """Stall a worker's connections to the database beyond the lease, then resume them."""
    proxy = rng.choice(site.proxies)
    proxy.stall()
    time.sleep(LEASE.total_seconds() + BEYOND_SECONDS)
    proxy.resume()
    return True


#: Long faults first.
ANYWHERE: list[Fault] = [worker_frozen, api_killed, worker_killed, trial_killed, connections_cut, backend_killed]
EMBEDDED: list[Fault] = [*ANYWHERE, postmaster_killed]
EXTERNAL: list[Fault] = [
    proxy_stalled,
    *ANYWHERE,
    server_restarted_fast,
    server_restarted_immediate,
    proxy_dropped,
]


def _workers(site: Site) -> list[psutil.Process]:
    return [worker for worker in map(site.fleet.worker, site.workers) if worker]


def _kill(process: psutil.Process | None) -> bool:
    if process is None:
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        return True
    return False


def _signal(processes: list[psutil.Process], signum: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)


def _restart(site: Site, mode: str) -> bool:
    assert site.external is not None
    site.external.restart(mode)
    return True
