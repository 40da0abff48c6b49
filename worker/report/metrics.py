"""Differences and spreads of a task's metrics on held-out data."""

import math
import statistics
from collections.abc import Sequence

from halftime.contract.report.report import Difference
from halftime.contract.report.trial import TrialResult
from worker.comparison.estimates import difference_estimate
from worker.report.legs import predictions_of

Pairs = Sequence[tuple[TrialResult, TrialResult]]


def metric_differences(pairs: Pairs, pilot: int) -> dict[str, Difference]:
    """By the name of a metric, its difference; without a metric that is not finite in every trial."""
    predictions = {"accuracy": predictions_of([one for one, _ in pairs])}
    return {
        name: difference_estimate(
            [one for one, _ in values], [other for _, other in values], pilot, predictions.get(name)
        )
        for name, values in _values(pairs).items()
        if values
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
    values = _values([(trial, trial) for trial in trials])
    return {name: statistics.stdev(one for one, _ in pairs) for name, pairs in values.items() if len(pairs) >= 2}


def equally_trained(one: TrialResult, other: TrialResult) -> bool:
    """Whether two trials trained for the same number of steps and were validated on the same share of the data."""
    return (len(one.loss_curve), one.validation_share) == (len(other.loss_curve), other.validation_share)


def _values(pairs: Pairs) -> dict[str, list[tuple[float, float]]]:
    """By the name of a metric, its values; none if one of them is not finite."""
    names = ["loss", "accuracy", *pairs[0][0].validation_metrics] if pairs else []
    found = {name: [(one.metric(name), other.metric(name)) for one, other in pairs] for name in names}
    return {
        name: [(one, other) for one, other in values if one is not None and other is not None]
        for name, values in found.items()
        if not any(None in pair for pair in values)
    }
