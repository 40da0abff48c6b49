"""Warnings about what a leg learned: gradients off FP64, and weights that did not move."""

from collections.abc import Iterator

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.numerics import Numerics
from worker.comparison.comparison_run import LegRun
from worker.training.precision_facts import FACTS

#: Smallest error that the ratio is computed with: below it, any error is accepted.
MIN_EXPLAINED_ERROR = 1e-7

#: Share of unmoved weights above which not even the median weight was moved.
MEDIAN = 0.5


def about_the_gradient(leg: LegRun) -> Iterator[str]:
    """Warns if the gradient of one step is further off FP64's than rounding explains."""
    numerics = leg.measured_alone[0].numerics
    if numerics is not None and not _is_explained(numerics, leg.precision):
        layers = ", ".join(layer.name for layer in numerics.worst_layers)
        yield (
            f"{leg.precision}: the gradient of one step is off from FP64's by "
            f"{_percent(numerics.gradient_relative_rmse)} (relative RMSE), of which rounding explains "
            f"{_percent(numerics.explained_relative_rmse)}. Worst layers: {layers}."
        )


def about_unmoved_weights(leg: LegRun, baseline: LegRun) -> Iterator[str]:
    """Warns if weights in BF16 were too coarse for the median update: a smaller one than half their spacing is lost."""
    share, of_baseline = (_unmoved_share(one) for one in (leg, baseline))
    if FACTS[leg.precision].weights == "float32" or share is None or share <= MEDIAN or leg is baseline:
        return
    beside = "" if of_baseline is None else f", and {_percent(of_baseline)} in {baseline.name}"
    if of_baseline is None or share > of_baseline:
        yield (
            f"{leg.name}: {_percent(share)} of the weights are where they began{beside}: updates below half of BF16's "
            "resolution (a relative 2⁻⁹ to 2⁻⁸) round to nothing. Use bf16, which keeps weights in FP32, or a higher "
            "learning rate."
        )


def _unmoved_share(leg: LegRun) -> float | None:
    return leg.measured_alone[0].unmoved_weight_share if leg.measured_alone else None


def _is_explained(numerics: Numerics, precision: PrecisionName) -> bool:
    """Whether the gradient's error against FP64 is about what rounding explains."""
    off, explained = numerics.gradient_relative_rmse, numerics.explained_relative_rmse
    if off is None or explained is None:
        return False
    return off <= FACTS[precision].max_error_ratio * max(explained, MIN_EXPLAINED_ERROR)


def _percent(share: float | None) -> str:
    return "an unknown amount" if share is None else f"{100 * share:.2g} %"
