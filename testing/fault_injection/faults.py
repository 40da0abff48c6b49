"""What is done to a running fleet. Each kind says whether it struck: its target may be dead at the moment."""

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

#: So much longer than the lease do the long ones last: by then the benchmark has been run elsewhere.
BEYOND_SECONDS = 10.0

Fault = Callable[[Site, random.Random], bool]


def api_killed(site: Site, rng: random.Random) -> bool:
    """-9."""
    return _kill(site.fleet.api())


def worker_killed(site: Site, rng: random.Random) -> bool:
    """-9; its trial must follow it."""
    return _kill(site.fleet.worker(rng.choice(site.workers)))


def trial_killed(site: Site, rng: random.Random) -> bool:
    """-9."""
    running = [trial for worker in _workers(site) for trial in site.fleet.trials(worker)]
    return _kill(rng.choice(running)) if running else False


def postmaster_killed(site: Site, rng: random.Random) -> bool:
    """-9 of the embedded PostgreSQL; its backends find out and end."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return _kill(psutil.Process(site.postmaster()))
    return False


def backend_killed(site: Site, rng: random.Random) -> bool:
    """-9 of one process of PostgreSQL's, which makes it end all the others and recover."""
    backends = site.view.backends()
    with contextlib.suppress(psutil.NoSuchProcess):
        return _kill(psutil.Process(rng.choice(backends))) if backends else False
    return False


def connections_cut(site: Site, rng: random.Random) -> bool:
    """By the server, all of them at once."""
    return site.view.cut_connections() > 0


def worker_frozen(site: Site, rng: random.Random) -> bool:
    """SIGSTOP beyond the lease, then SIGCONT; with its forkserver and trials, as a node is, or alone."""
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
    """The external PostgreSQL, as for an upgrade: everyone is thrown out."""
    return _restart(site, "fast")


def server_restarted_immediate(site: Site, rng: random.Random) -> bool:
    """The external PostgreSQL, without a clean end: it recovers."""
    return _restart(site, "immediate")


def proxy_dropped(site: Site, rng: random.Random) -> bool:
    """A worker's connections are reset on their way."""
    rng.choice(site.proxies).drop()
    return True


def proxy_stalled(site: Site, rng: random.Random) -> bool:
    """A worker's way to the database goes silent, beyond the lease, and then comes back."""
    proxy = rng.choice(site.proxies)
    proxy.stall()
    time.sleep(LEASE.total_seconds() + BEYOND_SECONDS)
    proxy.resume()
    return True


#: The long ones first.
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
