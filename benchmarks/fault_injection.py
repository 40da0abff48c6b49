"""Faults into running fleets, in random places, until all their benchmarks have ended; what must hold afterwards.

Half of the jobs run on the embedded PostgreSQL, half on an external one. HALFTIME_FAULT_JOBS and HALFTIME_FAULT_SEED
set how many there are, and the seed.
"""

import os

from app.store.workers import LEASE
from tests.faults.injection import faults
from tests.faults.injection.campaign import Plan, run_campaign
from tests.faults.injection.fleet import shared_folder
from tests.faults.injection.sites import MAX_ATTEMPTS, embedded_site, external_site

JOBS, SEED = 120, 20261123
WORKERS = 3

#: So that a kind of fault strikes every few seconds, and a job of some seconds can be finished between them.
PAUSE_SECONDS = (1.0, 3.0)

#: For all jobs of a site.
PATIENCE_SECONDS = 1200.0


def measure() -> dict[str, object]:
    """Counts of what was done and what came of it; the violations must be none."""
    jobs = int(os.environ.get("HALFTIME_FAULT_JOBS", JOBS))
    seed = int(os.environ.get("HALFTIME_FAULT_SEED", SEED))
    print(f"seed {seed}")
    plan = Plan(seed, jobs // 2, PAUSE_SECONDS, endless=True, patience_seconds=PATIENCE_SECONDS)
    found: dict[str, object] = {"seed": seed, "jobs": 2 * plan.jobs, "workers": WORKERS}
    for name, site, kinds in (
        ("embedded", embedded_site, faults.EMBEDDED),
        ("external", external_site, faults.EXTERNAL),
    ):
        with shared_folder() as folder, site(folder, WORKERS) as running:
            found[name] = run_campaign(running, kinds, plan).table()
        print(name, found[name])
    return found | {"lease_seconds": LEASE.total_seconds(), "max_attempts": MAX_ATTEMPTS}
