"""What is known of a comparison before it has ended, for those who watch it."""

from collections.abc import Sequence
from typing import Any, TypeVar

from halftime.contract.report.report import Estimate
from halftime.contract.report.trial import TrialResult
from worker.comparison.estimates import ratio_estimate
from worker.comparison.legs import ComparisonRun, LegRun, median_step, paired

#: As an event stores it.
Json = dict[str, Any]

#: Of a loss curve, for an event: enough to draw it.
POINTS = 60

Sample = TypeVar("Sample")


def after_trial(trial: TrialResult) -> Json:
    """The figures of a trial: seconds, nats, and its loss curve in at most 60 points."""
    return {
        "median_step_seconds": median_step(trial),
        "validation_loss": trial.validation_loss,
        "steps": len(trial.loss_curve),
        "loss_curve": evenly(trial.loss_curve, POINTS),
    }


def after_block(comparison: ComparisonRun) -> Json:
    """The speedups so far with their intervals; null before there are two blocks, and for a leg that failed."""
    speedups = {leg.name: _speedup(comparison, leg) for leg in comparison.candidates}
    return {
        "block": comparison.blocks - 1,
        "planned_blocks": comparison.planned_blocks,
        "speedups": {name: found.model_dump() if found else None for name, found in speedups.items()},
    }


def evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many of the samples, the first and the last among them."""
    if len(samples) <= most:
        return list(samples)
    return [samples[round(index * (len(samples) - 1) / (most - 1))] for index in range(most)]


def _speedup(comparison: ComparisonRun, leg: LegRun) -> Estimate | None:
    pairs = paired(comparison.baseline, leg)
    if leg.failure is not None or len(pairs) < 2:
        return None
    baseline, candidate = ([median_step(trial) for trial in legs] for legs in zip(*pairs, strict=True))
    return ratio_estimate(baseline, candidate, comparison.request.config.measurement.min_blocks)
