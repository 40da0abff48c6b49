"""Random faults in running fleets until all their benchmarks have ended; then the invariants are checked.

Half of the faults hit a fleet on the embedded PostgreSQL, half one on an external PostgreSQL; both run at once.
HALFTIME_FAULTS and HALFTIME_FAULT_JOBS set the minimum of faults and benchmarks, HALFTIME_FAULT_SEED the seed.
"""

import concurrent.futures
import os

from app.store.workers import LEASE
from testing.api_process import temporary_folder
from testing.fault_injection import faults
from testing.fault_injection.campaign import Outcome, Plan, run_campaign
from testing.fault_injection.sites import MAX_ATTEMPTS, embedded_site, external_site

FAULTS, JOBS, SEED = 1000, 120, 20261123
WORKERS = 3

#: Pause between two faults: about as long as trials run.
PAUSE_SECONDS = (0.5, 1.5)

#: Timeout for all jobs of a site: this, and more for each fault.
PATIENCE_SECONDS, PATIENCE_SECONDS_PER_FAULT = 1200.0, 15.0

SITES = {"embedded": (embedded_site, faults.EMBEDDED), "external": (external_site, faults.EXTERNAL)}


def measure() -> dict[str, object]:
    """Counts of faults and their consequences; there must be no violations."""
    least, jobs, seed = (
        int(os.environ.get(f"HALFTIME_{name}", usual))
        for name, usual in (("FAULTS", FAULTS), ("FAULT_JOBS", JOBS), ("FAULT_SEED", SEED))
    )
    print(f"seed {seed}")
    patience = PATIENCE_SECONDS + PATIENCE_SECONDS_PER_FAULT * least
    plan = Plan(seed, jobs // 2, PAUSE_SECONDS, endless=True, patience_seconds=patience, faults=least // 2)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        under_way = {name: pool.submit(_campaign, name, plan) for name in SITES}
    outcomes = {name: done.result().table() for name, done in under_way.items()}
    facts: dict[str, object] = {"seed": seed, "workers": WORKERS, "lease_seconds": LEASE.total_seconds()}
    return facts | {"max_attempts": MAX_ATTEMPTS} | outcomes


def _campaign(name: str, plan: Plan) -> Outcome:
    site, kinds = SITES[name]
    with temporary_folder() as folder, site(folder, WORKERS) as running:
        outcome = run_campaign(running, kinds, plan)
    print(name, outcome.table(), flush=True)
    return outcome
