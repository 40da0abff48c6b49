"""Differences, gains and spreads of a task's metrics on held-out data."""

import math
import statistics
from collections.abc import Sequence

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.report import Difference
from halftime.contract.report.trial import TrialResult
from worker.comparison.estimates import difference_estimate, gain_estimate

Pairs = Sequence[tuple[TrialResult, TrialResult]]


def metric_differences(pairs: Pairs, pilot: int) -> dict[str, Difference]:
    """By the name of a metric, its difference; without a metric that is not finite in every trial."""
    return {
        name: difference_estimate(*_columns(values), pilot, predictions_of([one for one, _ in pairs], name))
        for name, values in _values(pairs).items()
        if values
    }


def gains_over_chance(trials: Sequence[TrialResult], pilot: int) -> dict[str, Estimate]:
    """By the name of a metric, how far trials got beyond chance, where it is known; empty for fewer than two trials."""
    return {
        name: gain
        for name, values in _columns_of(trials).items()
        if len(values) >= 2 and (gain := _gain(trials, name, values, pilot)) is not None
    }


def same_seed_spreads(pairs: Pairs) -> dict[str, float]:
    """By the name of a metric, the standard deviation of one run: two runs' difference has twice the variance."""
    return {
        name: math.sqrt(statistics.fmean((one - other) ** 2 for one, other in values) / 2)
        for name, values in _values(pairs).items()
        if values
    }


def spreads(trials: Sequence[TrialResult]) -> dict[str, float]:
    """By the name of a metric, the standard deviation over trials; empty for fewer than two."""
    return {name: statistics.stdev(values) for name, values in _columns_of(trials).items() if len(values) >= 2}


def equally_trained(one: TrialResult, other: TrialResult) -> bool:
    """Whether two trials trained for the same number of steps and were validated on the same share of the data."""
    return (len(one.loss_curve), one.validation_share) == (len(other.loss_curve), other.validation_share)


def metric_of(trial: TrialResult, name: str) -> MetricFacts | None:
    """What is known of a metric; None in results of earlier releases."""
    return next((metric for metric in trial.data.metrics if metric.name == name), None)


def predictions_of(trials: Sequence[TrialResult], name: str) -> list[int] | None:
    """Number of held-out predictions that a metric is a share of in each trial; None if it is none, or unknown."""
    facts = [metric_of(trial, name) for trial in trials]
    counts = [trial.validation_counts.get(name) for trial in trials]
    if not all(metric and metric.is_share for metric in facts):
        return None
    known = [max(1, round(count)) for count in counts if count is not None]
    return known if len(known) == len(counts) else None


def _gain(trials: Sequence[TrialResult], name: str, values: list[float], pilot: int) -> Estimate | None:
    facts = [metric_of(trial, name) for trial in trials]
    chances = [metric.chance for metric in facts if metric is not None and metric.chance is not None]
    if facts[0] is None or len(chances) < len(values):
        return None
    return gain_estimate(values, chances, pilot, predictions_of(trials, name), facts[0].better)


def _columns_of(trials: Sequence[TrialResult]) -> dict[str, list[float]]:
    """By the name of a metric, its value in every trial; empty if one of them is not finite."""
    return {name: [one for one, _ in pairs] for name, pairs in _values([(trial, trial) for trial in trials]).items()}


def _columns(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _values(pairs: Pairs) -> dict[str, list[tuple[float, float]]]:
    """By the name of a metric, its values; none if one of them is not finite."""
    names = ["loss", "accuracy", *pairs[0][0].validation_metrics] if pairs else []
    found = {name: [(one.metric(name), other.metric(name)) for one, other in pairs] for name in names}
    return {
        name: [(one, other) for one, other in values if one is not None and other is not None]
        for name, values in found.items()
        if not any(None in pair for pair in values)
    }
