"""Synthetic vectors labelled by a random network."""

import torch
from torch import Tensor

from halftime.plugin import Part

#: Hidden units of the teacher: few, so that a model can learn it in a short run.
TEACHER_UNITS = 16

#: Scale of the teacher's logits: labels are nearly deterministic if it is large.
SHARPNESS = 4.0

#: Vectors that the best possible loss and accuracy are estimated on.
ESTIMATE_SAMPLES = 16_384


class VectorSource:
    """Samples are Gaussian vectors; the class is drawn from the softmax of a two-layer teacher network.

    The best model predicts the teacher's own probabilities: its loss is their mean entropy, its accuracy their mean
    maximum, both estimated on 16,384 vectors.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, input_size: int, num_classes: int, generator: torch.Generator) -> None:
        self.input_size = input_size
        self.sample_bytes = 4 * input_size + 8
        self.first = torch.randn(input_size, TEACHER_UNITS, generator=generator) / input_size**0.5
        self.second = torch.randn(TEACHER_UNITS, num_classes, generator=generator) * SHARPNESS / TEACHER_UNITS**0.5
        probabilities = self._teach(torch.randn(ESTIMATE_SAMPLES, input_size, generator=generator))
        self.best_possible_loss = float(torch.special.entr(probabilities.double()).sum(dim=1).mean())
        self.best_possible_accuracy = float(probabilities.max(dim=1).values.double().mean())

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (count, input_size), float32; targets (count,), int64."""
        vectors = torch.randn(count, self.input_size, generator=generator)
        return vectors, torch.multinomial(self._teach(vectors), 1, generator=generator)[:, 0]

    def _teach(self, vectors: Tensor) -> Tensor:
        logits: Tensor = torch.tanh(vectors @ self.first) @ self.second
        return logits.softmax(dim=1)
