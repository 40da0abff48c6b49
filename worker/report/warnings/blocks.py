"""Warnings about the blocks: those of an earlier attempt, their number, and data that repeats."""

from collections.abc import Iterator
from itertools import groupby

from worker.comparison.comparison_run import ComparisonRun, paired


def about_the_blocks(measured: ComparisonRun) -> Iterator[str]:
    """Yields where blocks come from, and whether there are enough."""
    reused = [kept for kept in measured.reused if kept.block.pairing != "survey"]
    for (attempt, worker), kept in groupby(enumerate(reused, start=1), lambda one: (one[1].attempt, one[1].worker)):
        numbers = [number for number, _ in kept]
        yield (
            f"Blocks {numbers[0]} to {numbers[-1]} were measured in attempt {attempt} by worker {worker}, "
            "before an interruption. Device, versions and request were identical."
        )
    is_odd = measured.blocks % 2 and measured.blocks > 1
    if is_odd and measured.pairing != "turns" and measured.can_compare():  # in turns, drift cancels in every block
        out_of_time = measured.stopped_by == "time_budget"
        remedy = "Raise measurement.time_budget_seconds, which ended it there" if out_of_time else "Use an even number"
        yield f"{measured.blocks} blocks is an odd number, so linear drift does not cancel. {remedy}."
    least = measured.request.config.measurement.min_blocks
    if measured.stopped_by == "time_budget" and measured.blocks < least:
        pairs = max(len(paired(measured.baseline, leg)) for leg in measured.candidates)
        effect = "the intervals are wide" if pairs >= 2 else "no interval can be computed"
        yield f"The time budget ended after {measured.blocks} of at least {least} blocks: {effect}."
    facts = measured.legs[0].trials[0].data if measured.legs[0].trials else None
    steps = measured.request.config.training.steps
    if facts and facts.distinct_batches < steps:
        yield f"The training data repeats after {facts.distinct_batches} of {steps} batches: its size is limited."
