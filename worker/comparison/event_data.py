"""What is known of a comparison before it has ended, for those who watch it."""

from collections.abc import Sequence
from typing import TypeVar

from halftime.contract.event_data import BlockFinished, TrialFailed, TrialFinished
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import Failure
from halftime.contract.report.metrics import MetricValue
from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import ComparisonRun, LegRun, log_ratios, median_step, paired
from worker.comparison.estimates import ratio_estimate
from worker.messages import TrialSpec

#: Of a loss curve, for an event: enough to draw it.
POINTS = 60

Sample = TypeVar("Sample")


def after_trial(spec: TrialSpec, outcome: TrialResult | Failure) -> TrialFinished | TrialFailed:
    """The figures of a trial with its loss curve in at most 60 points, or why it has none."""
    batch_size = spec.training.batch_size if spec.phase == "capacity" else None
    if isinstance(outcome, Failure):
        return TrialFailed(
            leg=spec.leg,
            block=spec.block,
            phase=spec.phase,
            batch_size=batch_size,
            code=outcome.code,
            detail=outcome.detail,
        )
    return TrialFinished(
        leg=spec.leg,
        block=spec.block,
        phase=spec.phase,
        batch_size=batch_size,
        median_step_seconds=median_step(outcome),
        validation_loss=outcome.validation_loss,
        metrics=[
            MetricValue(**metric.model_dump(), value=outcome.metric(metric.name)) for metric in outcome.data.metrics
        ],
        steps=len(outcome.loss_curve),
        loss_curve=evenly(outcome.loss_curve, POINTS),
    )


def after_block(comparison: ComparisonRun) -> BlockFinished:
    """The speedups so far with their intervals; null before there are two blocks, and for a leg that failed."""
    return BlockFinished(
        block=comparison.blocks - 1,
        planned_blocks=comparison.planned_blocks,
        pairing=comparison.pairing,
        speedups={leg.name: _speedup(comparison, leg) for leg in comparison.candidates},
    )


def evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many of the samples, the first and the last among them."""
    if len(samples) <= most:
        return list(samples)
    return [samples[round(index * (len(samples) - 1) / (most - 1))] for index in range(most)]


def _speedup(comparison: ComparisonRun, leg: LegRun) -> Estimate | None:
    pairs = paired(comparison.baseline, leg)
    if leg.failure is not None or len(pairs) < 2:
        return None
    return ratio_estimate(log_ratios(pairs), comparison.request.config.measurement.min_blocks)
