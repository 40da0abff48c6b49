"""The legs by name, and what they have in common."""

import statistics
from dataclasses import dataclass

from halftime.contract.precisions import leg_names
from halftime.contract.report.report import Leg, Report
from halftime.contract.report.trial import TrialResult


@dataclass(frozen=True)
class NamedLeg:
    """A leg under a name that no other leg of the report has."""

    name: str
    leg: Leg


def named_legs(report: Report) -> list[NamedLeg]:
    """The baseline, every candidate, and the control leg where there is one."""
    candidates = [found.candidate for found in report.comparisons]
    names = leg_names(report.baseline.precision, [leg.precision for leg in candidates], report.control is not None)
    legs = [report.baseline, *candidates, *([report.control] if report.control else [])]
    return [NamedLeg(name, leg) for name, leg in zip(names, legs, strict=True)]


def median_seconds(trial: TrialResult) -> float | None:
    """Of the measured steps; None where retention dropped them."""
    return statistics.median(trial.step_seconds) if trial.step_seconds else None


def ratios_by_block(baseline: Leg, candidate: Leg) -> list[tuple[int, float]]:
    """Every block, from 1, that both legs have, with the ratio of median step times, baseline over candidate."""
    theirs = {trial.block: median_seconds(trial) for trial in baseline.trials}
    pairs = [(trial.block, theirs.get(trial.block), median_seconds(trial)) for trial in candidate.trials]
    return sorted((block + 1, above / below) for block, above, below in pairs if above and below)
