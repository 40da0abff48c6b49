"""A data set from an installed package, checked sample by sample: a label out of range would take a GPU down."""

import torch
from torch import Tensor

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import PluginData
from halftime.plugin import DataShape, Part, Source
from worker.data.layout import Misfit, check_inputs, check_targets, layout_of
from worker.plugins import blamed, load

GROUP = "halftime.data"

#: Samples of either part that are looked at before anything is trained.
LOOKED_AT = 2


class PluginSource:
    """What the package makes, where it is what the model asks for. Raises TrialFailed (`invalid_data`) elsewhere."""

    def __init__(self, name: str, source: Source, shape: DataShape) -> None:
        self._name, self._source, self._layout = name, source, layout_of(shape)
        with blamed(f"The data plugin {name!r} must return a worker.data.source.Source", FailureCode.INVALID_DATA):
            self.best_possible_loss = _maybe_float(source.best_possible_loss)
            self.best_possible_accuracy = _maybe_float(source.best_possible_accuracy)
            self.sample_bytes = max(1, int(source.sample_bytes))
        parts: tuple[Part, Part] = ("training", "validation")
        for part in parts:
            self.sample(part, LOOKED_AT, torch.Generator().manual_seed(0))

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the model's layout; targets int64."""
        with blamed(f"The data plugin {self._name!r} could not draw {part} samples", FailureCode.INVALID_DATA):
            inputs, targets = self._source.sample(part, count, generator)
            for values, what, check in ((inputs, "inputs", check_inputs), (targets, "targets", check_targets)):
                if not isinstance(values, Tensor) or values.device.type != "cpu" or values.shape[:1] != (count,):
                    raise Misfit(f"its {what} must be a tensor of {count} samples on the CPU")
                try:
                    check(values, self._layout)
                except Misfit as error:
                    raise Misfit(f"its {what}: {error}") from error
        return inputs.float() if self._layout.vocab_size is None else inputs.long(), targets.long()


def plugin_source(shape: DataShape, config: PluginData, seed: int) -> PluginSource:
    """What the entry point makes of its arguments. Raises TrialFailed (`invalid_data`), which quotes the plugin."""
    make = load(GROUP, config.name, FailureCode.INVALID_DATA)
    with blamed(f"The data plugin {config.name!r} refused its arguments", FailureCode.INVALID_DATA):
        source: Source = make(shape, seed, **config.arguments)  # type: ignore[operator] # told like all else
    return PluginSource(config.name, source, shape)


def _maybe_float(value: float | None) -> float | None:
    return None if value is None else float(value)
