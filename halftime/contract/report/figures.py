"""The figures of a leg, of a trial and of a comparison: their names, titles and units, and how each is read.

Every format of a report lists its figures from `leg_figures`, `trial_figures` and `comparison_figures`: the tables
here, with the metrics of the report's task. A new figure is a field of the contract, an entry here, and the place where
it is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Literal, TypeVar

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.metrics import MetricFacts, further
from halftime.contract.report.report import (
    Capacity,
    Comparison,
    Difference,
    Leg,
)
from halftime.contract.report.requirements import RequirementKind
from halftime.contract.report.trial import DataFacts, TrialResult, metrics_of

Owner = TypeVar("Owner", Leg, TrialResult, Comparison)
Value = float | Estimate | Difference | None


@dataclass(frozen=True)
class Shown:
    """How people read a figure's value: times `factor`, in `unit`, by a format specification."""

    digits: str
    unit: str = ""
    factor: float = 1


@dataclass(frozen=True)
class Figure(Generic[Owner]):
    """One figure of a leg, a trial or a comparison."""

    #: In CSV, exports and trackers.
    name: str
    #: For people, without the unit; None: a figure for programs, in CSV alone.
    title: str | None
    #: Of the value; empty for counts and fractions.
    unit: str
    read: Callable[[Owner], Value]
    #: The direction of improvement; None where there is none.
    better: Literal["higher", "lower"] | None = None
    shown: Shown = Shown(",.1f")
    #: What people read where it is more than the number; None where there is nothing.
    words: Callable[[Owner], str | None] | None = None
    #: The metric of the training task that it is, or is in the unit of.
    metric: str | None = None
    #: A figure of a leg that an export gives of both legs of a comparison.
    exported: bool = False
    #: Its value is a Difference, whose interval belongs to the signed mean.
    is_difference: bool = False
    #: Belongs to a part that a leg or a trial may lack: without a value, the CSV report has no row of it.
    of_optional_part: bool = False

    @property
    def heading(self) -> str:
        """The title with the unit that people read it in."""
        return self.in_unit(f"{self.title}")

    def in_unit(self, title: str) -> str:
        """A title with the unit that people read the figure in."""
        return f"{title} ({self.shown.unit})" if self.shown.unit else title


def flat(name: str, value: Value) -> dict[str, float]:
    """A value with its interval as numbers under names that begin with the figure's; empty for None.

    The names are `x`, `x_ci_low` and `x_ci_high`; a difference has `x_signed_mean` as well.
    """
    if value is None:
        return {}
    if isinstance(value, Estimate | Difference):
        return {name if part == "value" else f"{name}_{part}": number for part, number in value}
    return {name: value}


def flat_names(figure: Figure[Owner]) -> list[str]:
    """The names that `flat` gives a figure of a comparison."""
    parts = Difference.model_fields if figure.is_difference else Estimate.model_fields
    return [figure.name if part == "value" else f"{figure.name}_{part}" for part in parts]


def leg_figures(data: DataFacts | None) -> dict[str, Figure[Leg]]:
    """The figures of a report's legs, in the order in which people read them, with all metrics of the task."""
    metrics = metrics_of(data)
    gains = [_gain(metric) for metric in metrics]
    return _of_task(LEG_FIGURES, metrics, [_of_leg(metric) for metric in further(metrics)] + gains)


def trial_figures(data: DataFacts | None) -> dict[str, Figure[TrialResult]]:
    """The figures of one trial, beside its block and its leg, with all metrics of the task."""
    metrics = metrics_of(data)
    return _of_task(TRIAL_FIGURES, metrics, [_of_trial(metric) for metric in further(metrics)])


def comparison_figures(data: DataFacts | None) -> dict[str, Figure[Comparison]]:
    """The figures of one candidate against the baseline, with the differences of all metrics of the task."""
    metrics = metrics_of(data)
    return _of_task(COMPARISON_FIGURES, metrics, [_difference(metric) for metric in further(metrics)])


def judged_figure(kind: RequirementKind, data: DataFacts | None) -> Figure[Comparison]:
    """The figure that a requirement judges, also where nothing is known of the metric."""
    figures = COMPARISON_FIGURES | comparison_figures(data)
    if kind.metric is None or kind.figure in figures:
        return figures[kind.figure]
    return _difference(MetricFacts.named(kind.metric))


def _by_name(figures: Sequence[Figure[Owner]]) -> dict[str, Figure[Owner]]:
    return {figure.name: figure for figure in figures}


def _gradient_error(leg: Leg) -> str | None:
    """In percent, with what rounding explains."""
    numerics = leg.numerics
    if numerics is None or numerics.gradient_relative_rmse is None or numerics.explained_relative_rmse is None:
        return None
    return f"{100 * numerics.gradient_relative_rmse:.2g} (rounding: {100 * numerics.explained_relative_rmse:.2g})"


def _share_of_ceiling(leg: Leg) -> float | None:
    if leg.achieved_flops_per_second is None or not leg.ceiling_flops_per_second:
        return None
    return leg.achieved_flops_per_second / leg.ceiling_flops_per_second


def _largest_batch(leg: Leg) -> str | None:
    """The largest batch that fits, or how far the search for it came and why no further."""
    found = leg.capacity
    if found is None:
        return None
    if found.largest_batch_size is None:
        return _no_largest_batch(found)
    is_bounded = found.stopped_by == "found" and found.smallest_too_large is not None
    return f"{'' if is_bounded else 'at least '}{found.largest_batch_size}"


def _no_largest_batch(found: Capacity) -> str:
    why = found.failure.title if found.failure else "the time was over"
    if found.tries == 0:
        return f"not searched: {why}"
    if found.smallest_too_large is None:
        return f"not found: {why}"
    if found.stopped_by == "found":
        return f"none: {found.smallest_too_large} is too large"
    return f"below {found.smallest_too_large}, search ended: {why}"


_SECONDS, _MILLISECONDS = Shown(",.3f", "s"), Shown(",.3f", "ms", 1000)
_MIB, _NATS, _FRACTION, _COUNT = Shown(",.1f", "MiB", 2**-20), Shown(",.4f", "nats"), Shown(",.4f"), Shown("d")

#: In the order in which people read them.
LEG_FIGURES: dict[str, Figure[Leg]] = _by_name([
    Figure("median_step_seconds", "Median step", "s", lambda leg: leg.median_step_seconds, "lower", _MILLISECONDS),
    Figure("mean_step_seconds", None, "s", lambda leg: leg.mean_step_seconds, "lower", of_optional_part=True),
    Figure("training_time_seconds", "Training time", "s", lambda leg: leg.training_time_seconds, "lower", _SECONDS),
    Figure("samples_per_second", "Samples per second", "1/s", lambda leg: leg.samples_per_second, "higher",
           exported=True),
    Figure("data_wait_share", None, "", lambda leg: leg.data_wait_share, "lower"),
    Figure("peak_memory_bytes", "Peak memory", "B", lambda leg: leg.peak_memory_bytes, "lower", _MIB, exported=True),
    Figure("first_step_peak_bytes", "Peak memory of the first step", "B", lambda leg: leg.first_step_peak_bytes,
           "lower", _MIB),
    Figure("peak_reserved_bytes", "Reserved by the allocator", "B", lambda leg: leg.peak_reserved_bytes, "lower",
           _MIB),
    Figure("peak_device_bytes", "In use on the GPU", "B", lambda leg: leg.peak_device_bytes, "lower", _MIB),
    Figure("final_train_loss", "Final training loss", "nats", lambda leg: leg.final_train_loss, "lower", _NATS,
           metric="loss"),
    Figure("validation_loss", "Validation loss", "nats", lambda leg: leg.validation_loss, "lower", _NATS,
           metric="loss"),
    Figure("validation_accuracy", "Validation accuracy", "", lambda leg: leg.validation_accuracy, "higher",
           _FRACTION, metric="accuracy"),
    Figure("skipped_steps", "Skipped steps", "",
           lambda leg: leg.grad_scaler.skipped_steps if leg.grad_scaler else None, "lower", _COUNT,
           of_optional_part=True),
    Figure("loss_relative_error", None, "",
           lambda leg: leg.numerics.loss_relative_error if leg.numerics else None, "lower", of_optional_part=True),
    Figure("gradient_relative_rmse", "Gradient off FP64", "",
           lambda leg: leg.numerics.gradient_relative_rmse if leg.numerics else None, "lower", Shown(".2g", "%", 100),
           words=_gradient_error, of_optional_part=True),
    Figure("explained_relative_rmse", None, "",
           lambda leg: leg.numerics.explained_relative_rmse if leg.numerics else None, of_optional_part=True),
    Figure("achieved_flops_per_second", None, "FLOP/s", lambda leg: leg.achieved_flops_per_second, "higher"),
    Figure("ceiling_flops_per_second", None, "FLOP/s", lambda leg: leg.ceiling_flops_per_second),
    Figure("share_of_ceiling", "Of the fastest matrix product", "", _share_of_ceiling, "higher",
           Shown(".0f", "%", 100), of_optional_part=True),
    Figure("model_flops_utilisation", "Model FLOPs utilisation, of its precision's peak", "",
           lambda leg: leg.model_flops_utilisation, "higher", Shown(".1f", "%", 100), of_optional_part=True),
    Figure("vendor_peak_flops_per_second", "Vendor's dense peak", "FLOP/s",
           lambda leg: leg.vendor_peak_flops_per_second, shown=Shown(",.0f", "TFLOP/s", 1e-12), of_optional_part=True),
    Figure("joules_per_step", "Energy per step", "J", lambda leg: leg.joules_per_step, "lower", Shown(",.2f", "J")),
    Figure("joules_per_sample", "Energy per sample", "J", lambda leg: leg.joules_per_sample, "lower",
           Shown(",.4f", "J")),
    Figure("capacity.largest_batch_size", "Largest batch that fits", "",
           lambda leg: leg.capacity.largest_batch_size if leg.capacity else None, "higher", _COUNT,
           words=_largest_batch, of_optional_part=True),
    Figure("capacity.samples_per_second", "Samples per second there", "1/s",
           lambda leg: leg.capacity.samples_per_second if leg.capacity else None, "higher", of_optional_part=True),
    Figure("capacity.peak_memory_bytes", None, "B",
           lambda leg: leg.capacity.peak_memory_bytes if leg.capacity else None, of_optional_part=True),
    Figure("disturbed_trials", None, "", lambda leg: leg.disturbed_trials, "lower"),
    Figure("repeated_trials", None, "", lambda leg: leg.repeated_trials, "lower"),
    Figure("pick_up_ratio", None, "x", lambda leg: leg.pick_up_ratio, "lower", of_optional_part=True),
    Figure("waiting_cpu_cores", None, "", lambda leg: leg.waiting_cpu_cores, "lower", of_optional_part=True),
])  # fmt: skip

#: Of one trial, beside its block and its leg.
TRIAL_FIGURES: dict[str, Figure[TrialResult]] = _by_name([
    Figure("median_step_seconds", "Median step", "s", lambda trial: trial.median_step_seconds, "lower",
           _MILLISECONDS),
    Figure("peak_memory_bytes", "Peak memory", "B",
           lambda trial: trial.memory.peak_bytes if trial.memory else None, "lower", _MIB, of_optional_part=True),
    Figure("validation_loss", "Validation loss", "nats", lambda trial: trial.validation_loss, "lower", _NATS,
           metric="loss"),
    Figure("validation_accuracy", "Validation accuracy", "", lambda trial: trial.validation_accuracy, "higher",
           _FRACTION, metric="accuracy"),
])  # fmt: skip

#: Of one candidate against the baseline.
COMPARISON_FIGURES: dict[str, Figure[Comparison]] = _by_name([
    Figure("speedup", "Speedup", "x", lambda found: found.speedup, "higher", Shown(".3f", "×")),
    Figure("training_time_ratio", "Training time ratio", "x", lambda found: found.training_time_ratio,
           "higher", Shown(".3f", "×")),
    Figure("memory_reduction_percent", "Memory reduction", "%", lambda found: found.memory_reduction_percent,
           "higher", Shown(".1f", "%")),
    Figure("accuracy_difference", "Accuracy difference", "", lambda found: found.accuracy_difference, "lower",
           Shown(".5f"), is_difference=True, metric="accuracy"),
    Figure("loss_difference", "Loss difference", "nats", lambda found: found.loss_difference, "lower",
           Shown(".5f"), is_difference=True, metric="loss"),
])  # fmt: skip


def _of_task(
    table: dict[str, Figure[Owner]], metrics: Sequence[MetricFacts], more: list[Figure[Owner]]
) -> dict[str, Figure[Owner]]:
    """A table in the units of a task, without metrics that it lacks; more figures follow its last metric."""
    of_task = {metric.name: metric for metric in metrics}
    last = [figure.name for figure in table.values() if figure.metric][-1]
    found: list[Figure[Owner]] = []
    for name, figure in table.items():
        if figure.metric is None:
            found.append(figure)
        elif figure.metric in of_task:
            found.append(_in_unit(figure, of_task[figure.metric]))
        if name == last:
            found += more
    return _by_name(found)


def _in_unit(figure: Figure[Owner], metric: MetricFacts) -> Figure[Owner]:
    """The figure as it is if it has the metric's unit, else in that unit, and as exact whatever its size."""
    if figure.unit == metric.unit:
        return figure
    return replace(figure, unit=metric.unit, shown=Shown(",.4g", metric.unit if figure.shown.unit else ""))


def shown_as(metric: MetricFacts) -> Shown:
    """How people read a metric: shares and nats by decimals; other values, which may have any size, by digits."""
    return Shown(",.4f" if metric.is_share or metric.unit == "nats" else ",.4g", metric.unit)


def _of_leg(metric: MetricFacts) -> Figure[Leg]:
    def read(leg: Leg) -> Value:
        return leg.validation_metrics.get(metric.name)

    name = f"validation_{metric.name}"
    return Figure(name, metric.heading, metric.unit, read, metric.better, shown_as(metric), metric=metric.name)


def _of_trial(metric: MetricFacts) -> Figure[TrialResult]:
    name, read = f"validation_{metric.name}", partial(TrialResult.metric, name=metric.name)
    return Figure(name, metric.heading, metric.unit, read, metric.better, shown_as(metric), metric=metric.name)


def _gain(metric: MetricFacts) -> Figure[Leg]:
    """How far a metric got beyond chance: for programs."""

    def read(leg: Leg) -> Value:
        return leg.gains_over_chance.get(metric.name)

    return Figure(f"{metric.name}_gain_over_chance", None, metric.unit, read, "higher", of_optional_part=True)


def _difference(metric: MetricFacts) -> Figure[Comparison]:
    def read(found: Comparison) -> Value:
        return found.metric_differences.get(metric.name)

    shown = Shown(".5f") if metric.is_share else Shown(".3g", metric.unit)
    name, title = f"{metric.name}_difference", f"{metric.heading} difference"
    return Figure(name, title, metric.unit, read, "lower", shown, is_difference=True, metric=metric.name)
