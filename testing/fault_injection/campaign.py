"""Runs jobs and injects faults until all jobs have ended; then checks the invariants and counts what happened."""

import concurrent.futures
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

from testing.fault_injection import invariants
from testing.fault_injection.faults import Fault
from testing.fault_injection.fleet import stopped
from testing.fault_injection.jobs import Clients
from testing.fault_injection.sites import MAX_ATTEMPTS, Site

#: Faults at the same time: two long ones, and short ones in parallel.
AT_ONCE = 3

#: Faults between two progress messages.
PROGRESS_EVERY = 25

#: Time within which a fleet whose jobs have ended must reach its final state.
SETTLING_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """Size and pace of a campaign, and its random seed."""

    seed: int
    #: Minimum; more are submitted until every kind of fault has struck once and `faults` have struck in all.
    jobs: int
    #: Pause between two faults: minimum and maximum.
    pause_seconds: tuple[float, float]
    #: Whether faults go on until the jobs have ended, after every kind has struck once.
    endless: bool
    #: Timeout for all jobs together.
    patience_seconds: float = 120.0
    #: Minimum number of faults; needs `endless` if it is larger than the number of kinds.
    faults: int = 0


@dataclass
class Outcome:
    """Faults injected, how jobs ended, and the invariants violated."""

    faults: Counter[str]
    statuses: Counter[str]
    counts: Counter[str]
    violations: list[str]

    def table(self) -> dict[str, object]:
        """Figures for a results file."""
        return {
            "faults": sum(self.faults.values()),
            "by_kind": dict(sorted(self.faults.items())),
            "ended_as": dict(self.statuses),
            "counts": dict(self.counts),
            "violations": self.violations,
        }


def run_campaign(site: Site, kinds: list[Fault], plan: Plan) -> Outcome:
    """Run the campaign. Raises TimeoutError if the jobs do not end in time."""
    rng = random.Random(plan.seed)  # noqa: S311 # to be repeated
    site.view.install_watch()
    clients = Clients(site.fleet.http, plan.jobs, plan.seed)
    clients.start()
    try:
        faults = _inject(site, kinds, plan, clients, rng)
        site.fleet.until(clients.done, plan.patience_seconds)
    finally:
        clients.stop()
    return Outcome(faults, Counter(clients.statuses.values()), _counts(site, clients), _violations(site, clients))


def _inject(site: Site, kinds: list[Fault], plan: Plan, clients: Clients, rng: random.Random) -> Counter[str]:
    """Inject every kind until it has struck, then random ones, while there are jobs to disturb."""
    struck: Counter[str] = Counter()
    missing = list(kinds)
    free = threading.Semaphore(AT_ONCE)

    def strike(kind: Fault, seed: float) -> None:
        try:
            if kind(site, random.Random(seed)):  # noqa: S311 # to be repeated
                struck[kind.__name__] += 1
                if len(struck) == len(kinds) and struck.total() >= plan.faults:
                    clients.enough.set()
                if struck.total() % PROGRESS_EVERY == 0:
                    print(f"{site.name}: {struck.total()} faults, {len(clients.statuses)} benchmarks", flush=True)
            elif kind.__name__ not in struck:
                missing.append(kind)
        finally:
            free.release()

    deadline = time.monotonic() + plan.patience_seconds
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        strikes = []
        while not clients.done() and time.monotonic() < deadline:
            # Skipped faults are not made up for later: faults that wait for each other would come in one burst.
            if (missing or plan.endless) and _trial_runs(site) and free.acquire(blocking=False):
                kind = missing.pop(0) if missing else rng.choice(kinds)
                strikes.append(pool.submit(strike, kind, rng.random()))
            time.sleep(rng.uniform(*plan.pause_seconds))
    for done in strikes:
        done.result()
    return struck


def _trial_runs(site: Site) -> bool:
    """Whether a trial runs: a fleet that is disturbed while it only starts would never get to one."""
    return any(site.fleet.trials(worker) for worker in map(site.fleet.worker, site.workers) if worker)


def _violations(site: Site, clients: Clients) -> list[str]:
    """Invariants still violated after SETTLING_SECONDS at most."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while violations := invariants.violations(site.view, site.fleet, MAX_ATTEMPTS):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    violations += [
        f"a report was overwritten: {benchmark_id}"
        for benchmark_id in invariants.overwritten(clients, site.fleet.until)
    ]
    violations += [f"known to one side only: {benchmark_id}" for benchmark_id in invariants.unknown(site.view, clients)]
    return violations + [f"a process outlived the fleet: {left}" for left in stopped(site.fleet)]


def _counts(site: Site, clients: Clients) -> Counter[str]:
    """Consequences of the faults, counted."""
    events = dict(site.view.query("SELECT kind, count(*) FROM events GROUP BY kind"))
    return clients.counts + Counter(
        {
            "attempts": events.get("started", 0),
            "workers lost": events.get("worker_lost", 0),
            "claims lost and results discarded": site.fleet.log_count("claim lost"),
            "processes started again": site.fleet.log_count("restart_in_seconds"),
            "trials killed": site.fleet.log_count("trial killed"),
        }
    )
