"""Where samples come from."""

from typing import Literal, Protocol

import torch
from torch import Tensor

#: Training and validation samples never overlap.
Part = Literal["training", "validation"]


class Source(Protocol):
    """A source of samples of one shape."""

    #: nats; the expected loss of the best possible model, and its accuracy; None where nobody knows
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    sample_bytes: int

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `count` samples, on the CPU."""
