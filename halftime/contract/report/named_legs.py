"""The legs of a report by name, and ratios between them."""

import math
from dataclasses import dataclass

from halftime.contract.precisions import leg_names
from halftime.contract.report.pairs import block_log_ratio
from halftime.contract.report.report import Leg, Report
from halftime.contract.report.trial import TrialResult


@dataclass(frozen=True)
class NamedLeg:
    """A leg with a name that is unique within the report."""

    name: str
    leg: Leg


def named_legs(report: Report) -> list[NamedLeg]:
    """Returns the baseline, every candidate, and the control leg if there is one."""
    candidates = [comparison.candidate for comparison in report.comparisons]
    names = leg_names(report.baseline.precision, [leg.precision for leg in candidates], report.control is not None)
    legs = [report.baseline, *candidates, *([report.control] if report.control else [])]
    return [NamedLeg(name, leg) for name, leg in zip(names, legs, strict=True)]


def ratios_by_block(baseline: Leg, candidate: Leg) -> list[tuple[int, float]]:
    """Returns (block from 1, step time of baseline / candidate) for every block that both legs have.

    Empty if retention dropped the step times.
    """
    of_baseline = {trial.block: trial for trial in baseline.trials}
    pairs = [(of_baseline[trial.block], trial) for trial in candidate.trials if trial.block in of_baseline]
    ratios = [(one.block + 1, _ratio(one, other)) for one, other in pairs]
    return sorted((block, ratio) for block, ratio in ratios if ratio is not None)


def _ratio(baseline: TrialResult, other: TrialResult) -> float | None:
    """Of whole trials, the quotient itself: through its logarithm, it would differ in the last digit."""
    if baseline.slices and other.slices:
        log_ratio = block_log_ratio(baseline, other)
        return None if log_ratio is None else math.exp(log_ratio)
    seconds, other_seconds = baseline.median_step_seconds, other.median_step_seconds
    return seconds / other_seconds if seconds and other_seconds else None
