"""The task of a model plugin, with checks of all that it returns: its errors name the plugin and the method."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Real
from typing import Any, TypeGuard

from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.report.failure import FailureCode
from halftime.plugin import Batch, Metric, Source, TrainingTask
from worker.data.plugin import CheckedSource
from worker.plugins import plugin_errors


class PluginTask(TrainingTask):
    """A plugin's task with checks.

    What goes wrong before training raises TrialFailed (`invalid_model`). What goes wrong in training or validation
    raises ValueError, or the plugin's own exception; `worker/trial/training_failure.py` reads the method from it.
    """

    def __init__(self, plugin: str, task: TrainingTask) -> None:
        self.plugin, self._task = plugin, task
        #: What data plugins are called with.
        self.__wrapped__ = task
        self.reported = task.reported
        self.shape = task.shape

    @property
    @override
    def predictions_per_sample(self) -> float:  # type: ignore[override] # a mean need not be whole
        with self._errors_in("predictions_per_sample"):
            value = self._task.predictions_per_sample
            if not _is_finite(value) or value <= 0:
                raise ValueError(f"it is {value!r}, not a finite number above 0")
        return value

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        return self._task.loss(model, batch)

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, tuple[float, float]]:
        measured = self._task.metrics(model, batch)
        if not isinstance(measured, Mapping):
            raise ValueError(f"it returned {_described(measured)}, not a mapping of names to a sum and a count")
        missing = [metric.name for metric in self.reported if metric.name not in measured]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}, which `reported` names")
        figures = {name: _sum_and_count(name, pair) for name, pair in measured.items()}
        if math.isfinite(figures["loss"][0]):  # else training diverged, and other sums may not be finite either
            _require_finite_sums(figures)
        return figures

    @override
    def predictions(self, batch: Batch) -> Tensor | float:  # type: ignore[override]
        count = self._task.predictions(batch)
        _check_count("it", count)
        if not isinstance(count, Tensor) and not count:
            raise ValueError("it returned 0 for a part of a batch; lower `gradient_accumulation`, or return a tensor")
        return count

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        with self._errors_in("chance"):
            known = dict(self._task.chance(held_out))
            for name, value in known.items():
                if not _is_finite(value):
                    raise ValueError(f"of {name!r}, it is {value!r}, not a finite number")
            unknown = known.keys() - {metric.name for metric in self.reported}
            if unknown:
                raise ValueError(f"it has {', '.join(sorted(unknown))}, which `reported` does not name")
        return known

    @override
    def source(self, seed: int) -> Source:
        with self._errors_in("source", NotImplementedError):
            source = self._task.source(seed)
        of = f"`source` of the task of model plugin {self.plugin!r}"
        return CheckedSource(of, FailureCode.INVALID_MODEL, source, self._task)

    def check_predictions(self, batch: Batch) -> None:
        """Checks the number of predictions in a batch on the CPU, where it can be read without waiting."""
        with self._errors_in("predictions"):
            _check_count("it", self._task.predictions(batch))

    def _errors_in(self, method: str, *passed: type[Exception]) -> AbstractContextManager[None]:
        what = f"The model plugin {self.plugin!r} failed in `{method}` of its task"
        return plugin_errors(what, FailureCode.INVALID_MODEL, *passed)


def check_metric(metric: Metric) -> None:
    """Raises ValueError for a best value or a chance that is not a finite number."""
    for what, value in (("best", metric.best), ("chance", metric.chance)):
        if value is not None and not _is_finite(value):
            raise ValueError(f"`{what}` of {metric.name!r} is {value!r}, not a finite number")


def _sum_and_count(name: str, pair: object) -> tuple[float, float]:
    """Returns a metric's sum and count as numbers, which waits for the device."""
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"{name!r} is {_described(pair)}, not a sum and a count")
    total, count = pair
    if not _is_number(total):
        raise ValueError(f"the sum of {name!r} is {_described(total)}, not a number")
    count = float(count) if _is_number(count) else count
    _check_count(f"the count of {name!r}", count)
    return float(total), float(count)


def _require_finite_sums(figures: Mapping[str, tuple[float, float]]) -> None:
    for name, (total, _) in figures.items():
        if not math.isfinite(total):
            raise ValueError(f"the sum of {name!r} is {total}, though the loss is finite")


def _check_count(what: str, count: object) -> None:
    """Raises ValueError for a count that is not a finite number of 0 or more; on a GPU its value is not read."""
    if _is_number(count) and isinstance(count, Tensor) and count.device.type != "cpu":
        return
    if not _is_number(count) or not 0 <= float(count) < math.inf:
        raise ValueError(f"{what} is {_described(count)}, not a finite number of 0 or more")


def _is_number(value: object) -> TypeGuard[Real | Tensor]:
    """Whether a value is a number, or a tensor of one that is real."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, Real)


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _described(value: object) -> str:
    """A number itself; of anything else, what it is."""
    if isinstance(value, Tensor):
        return str(value.item()) if value.numel() == 1 else f"a tensor of the shape {tuple(value.shape)}"
    return repr(value) if isinstance(value, Real) or value is None else f"a {type(value).__name__}"
