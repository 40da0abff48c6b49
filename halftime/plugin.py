"""The interface for packages that provide models and data sets to a worker; see `docs/plugins.md`.

Every input and every target is one tensor whose first dimension is the samples. Targets are classes (int64), or
`IGNORED` at positions that are not predicted. Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: The target of a position that is not predicted: torch's default `ignore_index`.
IGNORED = -100


@dataclass(frozen=True)
class Vectors:
    """Float vectors (samples, size) → one class."""

    size: int
    num_classes: int


@dataclass(frozen=True)
class Images:
    """Float images (samples, channels, height, width) → one class."""

    channels: int
    height: int
    width: int
    num_classes: int


@dataclass(frozen=True)
class CausalTokens:
    """Token IDs (samples, length) → the token that follows each."""

    vocab_size: int
    length: int


@dataclass(frozen=True)
class MaskedTokens:
    """Token ids (samples, length), some replaced by `mask_token` → the replaced ids, and `IGNORED` elsewhere."""

    vocab_size: int
    length: int
    mask_token: int


@dataclass(frozen=True)
class ClassifiedTokens:
    """Token IDs (samples, length) → one class."""

    vocab_size: int
    length: int
    num_classes: int


@dataclass(frozen=True)
class TokenPairs:
    """Source and decoder tokens, concatenated (samples, source + target) → the token that follows each decoder token
    (samples, target)."""

    vocab_size: int
    source_length: int
    target_length: int


DataShape = Vectors | Images | CausalTokens | MaskedTokens | ClassifiedTokens | TokenPairs

#: Parts of a data set, whose samples do not overlap.
Part = Literal["training", "validation"]


class Source(Protocol):
    """A source of samples of one shape."""

    #: Expected loss (nats) and accuracy of the best possible model; None if unknown.
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    #: Bytes of one sample's input and target.
    sample_bytes: int

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs and targets of `count` samples, on the CPU."""


@dataclass(frozen=True)
class Blueprint:
    """A model to build and the shape of its samples. Nothing is allocated before `build`."""

    shape: DataShape
    #: Builds the module on torch's default device, with weights from its global generator. The module maps one input
    #: tensor to logits whose last dimension is the classes or tokens.
    build: Callable[[], nn.Module]
