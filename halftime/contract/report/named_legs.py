"""The legs of a report by name, and ratios between them."""

from dataclasses import dataclass

from halftime.contract.precisions import leg_names
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


def median_seconds(trial: TrialResult) -> float | None:
    """Returns the median time of the steps that are compared; None if retention dropped them."""
    return trial.median_step_seconds


def ratios_by_block(baseline: Leg, candidate: Leg) -> list[tuple[int, float]]:
    """Returns (block from 1, median step time of baseline / candidate) for every block that both legs have."""
    baseline_seconds = {trial.block: median_seconds(trial) for trial in baseline.trials}
    pairs = [(trial.block, baseline_seconds.get(trial.block), median_seconds(trial)) for trial in candidate.trials]
    return sorted((block + 1, base / other) for block, base, other in pairs if base and other)
