"""More processes that load data, where training waits for it."""

import math

from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.split import between
from worker.explain.advice.words import percent

#: Largest number of processes that a request may ask for.
MOST_WORKERS = 64


def more_loader_workers(facts: Facts) -> Advice | None:
    """Advises as many processes as would end the wait, at most one per core.

    With a share w of the time spent waiting, n processes make a batch in the time T of a step; m make it in T n / m,
    and a step takes the longer of that and of its own time, T (1 - w). Without a process of its own the work is that of
    the step, w T. At least nothing: what all processes share, a disk or the cores, need not serve more of them.
    """
    loader, waits = facts.request.config.data.loader, facts.candidate.data_wait_share
    if loader is None or not waits:
        return None
    batch_seconds = loader.workers if loader.workers else waits  # of one process, in steps
    trained = 1 - waits
    wanted = math.ceil(batch_seconds / trained) if trained > 0 else MOST_WORKERS
    workers = min(wanted, facts.trial.environment.threads, MOST_WORKERS)
    if workers <= loader.workers:
        return None
    return Advice(
        name="more_loader_workers",
        text=f"Load data in {workers} processes instead of {loader.workers} (data.loader.workers).",
        evidence=(
            f"{percent(waits)} of the measured time is spent waiting for data; {loader.workers} processes load it, and "
            f"the worker computes with {facts.trial.environment.threads} threads."
        ),
        estimated_gain=between(1.0, 1 / max(trained, batch_seconds / workers)),
        request=changed(facts.request, config__data__loader__workers=workers),
    )
