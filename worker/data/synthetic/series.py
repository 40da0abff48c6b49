"""Synthetic time series: autoregressive processes that oscillate, with a known error of the best forecast."""

import math

import torch
from torch import Tensor

from halftime.plugin import Part

#: Modulus of the roots: how slowly an oscillation forgets its phase.
MODULUS = 0.99
#: Shortest and longest period, in steps.
PERIODS = (8.0, 32.0)


class SeriesSource:
    """Channels are independent Gaussian processes x_t = a x_{t-1} + b x_{t-2} + e_t of variance 1, each with a period.

    With ψ_0 = 1, ψ_1 = a, ψ_k = a ψ_{k-1} + b ψ_{k-2}, the best forecast of h steps ahead has the variance
    σ² Σ_{k<h} ψ_k², where σ² is that of e (Box & Jenkins, "Time Series Analysis", section 5.1). Its mean over steps and
    channels is the lowest possible mean squared error; the lowest mean absolute error is the mean of √(2/π) times the
    standard deviations. Two values are enough to forecast.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None = None

    def __init__(self, context: int, horizon: int, channels: int, generator: torch.Generator) -> None:
        self.context, self.horizon = context, horizon
        self.sample_bytes = 4 * (context + horizon) * channels
        shortest, longest = PERIODS
        periods = shortest + (longest - shortest) * torch.rand(channels, generator=generator, dtype=torch.float64)
        #: (channels,) each: the coefficients a and b, the correlation of neighbours, and the standard deviation of e
        self.first = 2 * MODULUS * torch.cos(2 * math.pi / periods)
        self.second = torch.full_like(self.first, -(MODULUS**2))
        self.correlation = self.first / (1 - self.second)
        self.innovation = (1 - self.first * self.correlation - self.second * self._correlation_of_two()).sqrt()
        errors = self.forecast_variances()
        self.best_possible_loss = float(errors.mean())
        self.best_possible = {"mean_absolute_error": float((2 / math.pi * errors).sqrt().mean())}

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `past_values` (count, context, channels) and `future_values` (count, horizon, channels), float32.

        The first two values are drawn from their stationary distribution, so the whole series is stationary.
        """
        steps, channels = self.context + self.horizon, len(self.first)
        noise = torch.randn(count, steps, channels, generator=generator, dtype=torch.float64)
        values = torch.empty_like(noise)
        values[:, 0] = noise[:, 0]
        values[:, 1] = self.correlation * values[:, 0] + (1 - self.correlation**2).sqrt() * noise[:, 1]
        for step in range(2, steps):
            expected = self.first * values[:, step - 1] + self.second * values[:, step - 2]
            values[:, step] = expected + self.innovation * noise[:, step]
        past, future = values[:, : self.context], values[:, self.context :]
        return {"past_values": past.float().contiguous(), "future_values": future.float().contiguous()}

    def forecast_variances(self) -> Tensor:
        """Variance of the best forecast's error, (horizon, channels)."""
        weights = [torch.zeros_like(self.first), torch.ones_like(self.first)]
        while len(weights) <= self.horizon:
            weights.append(self.first * weights[-1] + self.second * weights[-2])
        return self.innovation**2 * torch.stack(weights[1:]).square().cumsum(dim=0)

    def _correlation_of_two(self) -> Tensor:
        """Correlation of values two steps apart (Yule-Walker)."""
        return self.first * self.correlation + self.second
