"""Data from an installed package. Every sample is checked: a label out of range would crash a GPU."""

import math

import torch
from torch import Tensor

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import PluginData
from halftime.plugin import Batch, Part, Source, TrainingTask
from worker.data.batches import map_tensors, tensors_of
from worker.data.layout import Layout, LayoutMismatch, check_inputs, check_targets, layout_of
from worker.data.source import best_possible, known_chance
from worker.plugins import load, plugin_errors

GROUP = "halftime.data"

#: Samples of each part that are checked before training.
CHECKED_SAMPLES = 2


class CheckedSource:
    """A plugin's source with checks. Raises TrialFailed with `code` when its samples do not fit the model."""

    def __init__(self, of: str, code: FailureCode, source: Source, task: TrainingTask) -> None:
        #: Whose source it is, as an error begins.
        self._of = of
        self._code, self._source = code, source
        self._layout = layout_of(task.shape) if task.shape else None
        with plugin_errors(f"{of} must return a halftime.plugin.Source", code):
            self.best_possible_loss = _maybe_float(source.best_possible_loss)
            self.best_possible_accuracy = _maybe_float(source.best_possible_accuracy)
            self.best_possible = {name: _maybe_float(value) for name, value in best_possible(source).items()}
            self.chance = {name: _maybe_float(value) for name, value in known_chance(source).items()}
            self.sample_bytes = max(1, int(source.sample_bytes))
        parts: tuple[Part, Part] = ("training", "validation")
        for part in parts:
            self.sample(part, CHECKED_SAMPLES, torch.Generator().manual_seed(0))

    def sample(self, part: Part, count: int, generator: torch.Generator) -> Batch:
        """Draws a batch; for a model with a shape, inputs and targets of its layout, targets int64."""
        with plugin_errors(f"{self._of} could not draw {part} samples", self._code):
            batch = self._source.sample(part, count, generator)
            return _pair(batch, self._layout, count) if self._layout else _tree(batch, count)


def plugin_source(task: TrainingTask, config: PluginData, seed: int) -> CheckedSource:
    """Calls the entry point with its arguments. Raises TrialFailed (`invalid_data`) that quotes the plugin's error."""
    make = load(GROUP, config.name, FailureCode.INVALID_DATA)
    own_task = getattr(task, "__wrapped__", task)
    with plugin_errors(f"The data plugin {config.name!r} rejected its arguments", FailureCode.INVALID_DATA):
        source: Source = make(task.shape or own_task, seed, **config.arguments)  # type: ignore[operator] # a TypeError is handled like any other error
    return CheckedSource(f"The data plugin {config.name!r}", FailureCode.INVALID_DATA, source, task)


def _pair(batch: Batch, layout: Layout, count: int) -> tuple[Tensor, Tensor]:
    inputs, targets = batch
    for values, what, check in ((inputs, "inputs", check_inputs), (targets, "targets", check_targets)):
        _check_samples(values, f"the {what}", count)
        try:
            check(values, layout)
        except LayoutMismatch as error:
            raise LayoutMismatch(f"the tensor of {what} {error}") from error
    return inputs.float() if layout.vocab_size is None else inputs.long(), targets.long()


def _tree(batch: Batch, count: int) -> Batch:
    """Checks what any task needs. Floats become FP32, which every leg starts from."""
    if not tensors_of(batch):
        raise LayoutMismatch("a batch must have at least one tensor")
    for values in tensors_of(batch):
        _check_samples(values, "every part of a batch", count)
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise LayoutMismatch("a batch contains a NaN or an infinity")
    return map_tensors(lambda values: values.float() if values.is_floating_point() else values, batch)


def _check_samples(values: object, what: str, count: int) -> None:
    if not isinstance(values, Tensor) or values.device.type != "cpu" or values.shape[:1] != (count,):
        raise LayoutMismatch(f"{what} must be a tensor of {count} samples on the CPU")


def _maybe_float(value: float | None) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"a best possible value or a chance is {value}")
    return float(value)
