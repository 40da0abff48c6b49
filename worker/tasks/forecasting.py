"""Forecasting of time series: the values that follow a window."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from typing_extensions import override

from halftime.plugin import Batch, Metric, Source
from worker.data.source import seeded
from worker.data.synthetic.series import SeriesSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class Forecasting(OwnLoss):
    """Batches have `past_values` (samples, context, channels) and `future_values` (samples, horizon, channels).

    The loss is the mean squared error. Series have mean 0 and variance 1, so the best constant forecast, 0, has a mean
    squared error of 1 and a mean absolute error of √(2/π), that of a Gaussian.
    """

    context: int
    horizon: int
    channels: int

    reported = (
        Metric("loss", "lower", "mean squared error", chance=1.0),
        Metric("mean_absolute_error", "lower", chance=math.sqrt(2 / math.pi)),
    )

    @property
    @override
    def predictions_per_sample(self) -> int:  # type: ignore[override]
        return self.horizon

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        errors = (output.prediction_outputs - batch["future_values"]).abs()
        return {"mean_absolute_error": (errors.sum(), errors.numel())}

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        """The errors of the best constant forecasts: the mean for squares, the median for absolute values."""
        values = torch.cat([batch["future_values"].flatten() for batch in held_out]).double()
        return {
            "loss": float((values - values.mean()).square().mean()),
            "mean_absolute_error": float((values - values.median()).abs().mean()),
        }

    @override
    def source(self, seed: int) -> Source:
        return SeriesSource(self.context, self.horizon, self.channels, seeded("task", seed))
