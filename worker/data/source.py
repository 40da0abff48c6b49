"""Where samples come from, and the batches they come in."""

import hashlib
from typing import Literal, Protocol

import torch
from torch import Tensor

#: Training and validation samples never overlap.
Part = Literal["training", "validation"]

#: Inputs and targets, first dimension the samples.
Batch = tuple[Tensor, Tensor]


class Source(Protocol):
    """A source of samples of one shape."""

    #: nats; the expected loss of the best possible model, and its accuracy; None where nobody knows
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    sample_bytes: int

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `count` samples, on the CPU."""


def seeded(stream: str, seed: int) -> torch.Generator:
    """A generator of its own for every purpose, so that no stream shifts another."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def sha256(batches: list[Batch]) -> bytes:
    """Of every tensor in order."""
    digest = hashlib.sha256()
    for tensor in (tensor for batch in batches for tensor in batch):
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.digest()
