"""Regression: predicting numbers, trained by mean squared error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.plugin import LOSS, Batch, Metric, Source, TrainingTask
from worker.data.source import seeded
from worker.data.synthetic.numbers import NumberSource


@dataclass(frozen=True)
class Regression(TrainingTask):
    """Batches are pairs of inputs (samples, *input_shape) and targets (samples, num_targets), both floats."""

    input_shape: tuple[int, ...]
    num_targets: int

    reported = (LOSS, Metric("mean_absolute_error", "lower"))

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        inputs, targets = batch
        return functional.mse_loss(model(inputs), targets)

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, tuple[Tensor, int]]:
        inputs, targets = batch
        errors = model(inputs) - targets
        return {
            "loss": (errors.square().sum(), errors.numel()),
            "mean_absolute_error": (errors.abs().sum(), errors.numel()),
        }

    @override
    def source(self, seed: int) -> Source:
        return NumberSource(self.input_shape, self.num_targets, seeded("task", seed))
