"""Synthetic regression: numbers that a random network computes from Gaussian inputs, with Gaussian noise."""

import math

import torch
from torch import Tensor

from halftime.plugin import Part

#: Hidden units of the teacher: few, so that a model can learn it in a short run.
TEACHER_UNITS = 16

#: Variance of the noise; that of the teacher's outputs is 1.
NOISE_VARIANCE = 0.1


class NumberSource:
    """A target is the output of a teacher, erf(x·A)·B with Gaussian inputs x, plus Gaussian noise.

    The best model predicts the teacher's output, and is left with the noise: its mean squared error is the noise's
    variance v, its mean absolute error √(2v/π). A model that has learned nothing predicts the mean, 0, with the
    variance of the targets, 1 + v: B is scaled by the variance of the outputs, which is known exactly for erf.
    """

    best_possible_loss: float | None = NOISE_VARIANCE
    best_possible_accuracy: float | None = None

    def __init__(self, input_shape: tuple[int, ...], num_targets: int, generator: torch.Generator) -> None:
        self.input_shape, self.num_targets = input_shape, num_targets
        inputs = math.prod(input_shape)
        self.sample_bytes = 4 * (inputs + num_targets)
        self.first = torch.randn(inputs, TEACHER_UNITS, generator=generator) / inputs**0.5
        second = torch.randn(TEACHER_UNITS, num_targets, generator=generator)
        variances = (second * (covariance_of_units(self.first) @ second)).sum(dim=0)
        self.second = second / variances.sqrt()
        self.best_possible = {"mean_absolute_error": math.sqrt(2 / math.pi * NOISE_VARIANCE)}
        self.chance = {"loss": 1 + NOISE_VARIANCE}

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (count, *input_shape) and targets (count, num_targets), both float32."""
        inputs = torch.randn(count, *self.input_shape, generator=generator)
        noise = math.sqrt(NOISE_VARIANCE) * torch.randn(count, self.num_targets, generator=generator)
        return inputs, self.teach(inputs) + noise

    def teach(self, inputs: Tensor) -> Tensor:
        """(count, *input_shape) → (count, num_targets): the targets without noise."""
        return torch.erf(inputs.flatten(1) @ self.first) @ self.second


def covariance_of_units(weights: Tensor) -> Tensor:
    """(inputs, units) → (units, units): covariance of erf(x·weights) for standard normal x.

    Source: Williams 1998, "Computation with Infinite Neural Networks", equation 11.
    """
    products = 2 * weights.T @ weights
    scales = (1 + products.diag()).sqrt()
    return 2 / math.pi * torch.asin(products / torch.outer(scales, scales))
