"""Data from the plugin of an installed package. Every sample is checked: a label out of range would crash a GPU."""

import torch
from torch import Tensor

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import PluginData
from halftime.plugin import DataShape, Part, Source
from worker.data.layout import LayoutMismatch, check_inputs, check_targets, layout_of
from worker.plugins import load, plugin_errors

GROUP = "halftime.data"

#: Samples of each part that are checked before training.
CHECKED_SAMPLES = 2


class PluginSource:
    """A plugin's source with checks. Raises TrialFailed (`invalid_data`) when its samples do not fit the model."""

    def __init__(self, name: str, source: Source, shape: DataShape) -> None:
        self._name, self._source, self._layout = name, source, layout_of(shape)
        with plugin_errors(f"The data plugin {name!r} must return a halftime.plugin.Source", FailureCode.INVALID_DATA):
            self.best_possible_loss = _maybe_float(source.best_possible_loss)
            self.best_possible_accuracy = _maybe_float(source.best_possible_accuracy)
            self.sample_bytes = max(1, int(source.sample_bytes))
        parts: tuple[Part, Part] = ("training", "validation")
        for part in parts:
            self.sample(part, CHECKED_SAMPLES, torch.Generator().manual_seed(0))

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs and targets of the model's layout; targets int64."""
        with plugin_errors(f"The data plugin {self._name!r} could not draw {part} samples", FailureCode.INVALID_DATA):
            inputs, targets = self._source.sample(part, count, generator)
            for values, what, check in ((inputs, "inputs", check_inputs), (targets, "targets", check_targets)):
                if not isinstance(values, Tensor) or values.device.type != "cpu" or values.shape[:1] != (count,):
                    raise LayoutMismatch(f"the {what} must be a tensor of {count} samples on the CPU")
                try:
                    check(values, self._layout)
                except LayoutMismatch as error:
                    raise LayoutMismatch(f"the tensor of {what} {error}") from error
        return inputs.float() if self._layout.vocab_size is None else inputs.long(), targets.long()


def plugin_source(shape: DataShape, config: PluginData, seed: int) -> PluginSource:
    """Calls the entry point with its arguments. Raises TrialFailed (`invalid_data`) that quotes the plugin's error."""
    make = load(GROUP, config.name, FailureCode.INVALID_DATA)
    with plugin_errors(f"The data plugin {config.name!r} rejected its arguments", FailureCode.INVALID_DATA):
        source: Source = make(shape, seed, **config.arguments)  # type: ignore[operator] # a TypeError is handled like any other error
    return PluginSource(config.name, source, shape)


def _maybe_float(value: float | None) -> float | None:
    return None if value is None else float(value)
