"""What a model takes in and what it must tell: one shape for every task, whatever model or data it comes with.

Every input and every target is one tensor whose first dimension is the samples. Targets are classes (int64), and
`IGNORED` where there is nothing to predict.
"""

from dataclasses import dataclass

#: The target of a position that is not predicted: torch's own `ignore_index`.
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
    """Token ids (samples, length) → the token that follows each."""

    vocab_size: int
    length: int


@dataclass(frozen=True)
class MaskedTokens:
    """Token ids (samples, length), some replaced by `mask_token` → those that were; elsewhere `IGNORED`."""

    vocab_size: int
    length: int
    mask_token: int


@dataclass(frozen=True)
class ClassifiedTokens:
    """Token ids (samples, length) → one class."""

    vocab_size: int
    length: int
    num_classes: int


@dataclass(frozen=True)
class TokenPairs:
    """Source tokens and then the decoder's tokens, side by side (samples, source + target) → the token that follows
    each of the decoder's (samples, target)."""

    vocab_size: int
    source_length: int
    target_length: int


DataShape = Vectors | Images | CausalTokens | MaskedTokens | ClassifiedTokens | TokenPairs


def predictions_per_sample(shape: DataShape) -> int:
    """Targets that a sample holds, about."""
    if isinstance(shape, CausalTokens):
        return shape.length
    if isinstance(shape, TokenPairs):
        return shape.target_length
    if isinstance(shape, MaskedTokens):
        return max(1, shape.length // 7)
    return 1
