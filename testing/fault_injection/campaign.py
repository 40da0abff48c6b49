"""Jobs and faults together, until all jobs have ended; then what must hold, and the counts."""

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

#: Faults at once: two long ones, and the short ones beside them.
HANDS = 3

#: Faults between two lines that say how far a campaign is.
TOLD_EVERY = 25

#: Of everything that has ended until nothing is left of it.
SETTLING_SECONDS = 60.0


@dataclass(frozen=True)
class Plan:
    """How much, how fast, and the seed of what is random."""

    seed: int
    #: At least; and as many more as every kind of fault needs to strike once, and `faults` of them in all.
    jobs: int
    #: Between two faults, at least and at most.
    pause_seconds: tuple[float, float]
    #: Every kind strikes once; then all of them go on until the jobs have ended, or none does.
    endless: bool
    #: For all jobs together.
    patience_seconds: float = 120.0
    #: At least; `endless` where it is more than one of every kind.
    faults: int = 0


@dataclass
class Outcome:
    """What was done, what came of it, and what does not hold."""

    faults: Counter[str]
    statuses: Counter[str]
    counts: Counter[str]
    wrongs: list[str]

    def table(self) -> dict[str, object]:
        """For a results file."""
        return {
            "faults": sum(self.faults.values()),
            "by_kind": dict(sorted(self.faults.items())),
            "ended_as": dict(self.statuses),
            "counts": dict(self.counts),
            "violations": self.wrongs,
        }


def run_campaign(site: Site, kinds: list[Fault], plan: Plan) -> Outcome:
    """Raises TimeoutError for a fleet that does not get its jobs done."""
    rng = random.Random(plan.seed)  # noqa: S311 # to be repeated
    site.view.keep_watch()
    clients = Clients(site.fleet.http, plan.jobs, plan.seed)
    clients.start()
    try:
        faults = _inject(site, kinds, plan, clients, rng)
        site.fleet.until(clients.done, plan.patience_seconds)
    finally:
        clients.stop()
    return Outcome(faults, Counter(clients.statuses.values()), _counts(site, clients), _judged(site, clients))


def _inject(site: Site, kinds: list[Fault], plan: Plan, clients: Clients, rng: random.Random) -> Counter[str]:
    """Every kind until it has struck, then any, as long as there are jobs to hit."""
    struck: Counter[str] = Counter()
    missing = list(kinds)
    free = threading.Semaphore(HANDS)

    def strike(kind: Fault, seed: float) -> None:
        try:
            if kind(site, random.Random(seed)):  # noqa: S311 # to be repeated
                struck[kind.__name__] += 1
                if len(struck) == len(kinds) and struck.total() >= plan.faults:
                    clients.enough.set()
                if struck.total() % TOLD_EVERY == 0:
                    print(f"{site.name}: {struck.total()} faults, {len(clients.statuses)} benchmarks", flush=True)
            elif kind.__name__ not in struck:
                missing.append(kind)
        finally:
            free.release()

    deadline = time.monotonic() + plan.patience_seconds
    with concurrent.futures.ThreadPoolExecutor(HANDS) as hands:
        strikes = []
        while not clients.done() and time.monotonic() < deadline:
            # What is not struck now is not struck later: faults that wait for each other would come in one burst.
            if (missing or plan.endless) and _at_work(site) and free.acquire(blocking=False):
                kind = missing.pop(0) if missing else rng.choice(kinds)
                strikes.append(hands.submit(strike, kind, rng.random()))
            time.sleep(rng.uniform(*plan.pause_seconds))
    for done in strikes:
        done.result()
    return struck


def _at_work(site: Site) -> bool:
    """Whether a trial runs: a fleet that is struck while it only starts would never get to one."""
    return any(site.fleet.trials(worker) for worker in map(site.fleet.worker, site.workers) if worker)


def _judged(site: Site, clients: Clients) -> list[str]:
    """What does not hold; some of it may take its time to settle, and is waited for."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while wrongs := invariants.violations(site.view, site.fleet, MAX_ATTEMPTS):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    wrongs += [f"a report was overwritten: {found}" for found in invariants.overwritten(clients, site.fleet.until)]
    wrongs += [f"known to one side only: {found}" for found in invariants.unknown(site.view, clients)]
    return wrongs + [f"a process outlived the fleet: {left}" for left in stopped(site.fleet)]


def _counts(site: Site, clients: Clients) -> Counter[str]:
    """What the faults led to."""
    events = dict(site.view.ask("SELECT kind, count(*) FROM events GROUP BY kind"))
    return clients.counts + Counter(
        {
            "attempts": events.get("started", 0),
            "workers lost": events.get("worker_lost", 0),
            "claims lost and results discarded": site.fleet.says("claim lost"),
            "processes started again": site.fleet.says("restart_in_seconds"),
            "trials killed": site.fleet.says("trial killed"),
        }
    )
