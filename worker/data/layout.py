"""The layout that a model requires of samples: shape, dtype and range, and the checks of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from halftime.plugin import (
    IGNORED,
    CausalTokens,
    ClassifiedTokens,
    DataShape,
    Images,
    MaskedTokens,
    TokenPairs,
    Vectors,
)


class LayoutMismatch(Exception):
    """Samples do not fit a model; the message continues a sentence that begins with their name."""


@dataclass(frozen=True)
class Layout:
    """Layout of one sample."""

    input_shape: tuple[int, ...]
    #: Inputs are token ids below this; None: floats.
    vocab_size: int | None
    target_shape: tuple[int, ...]
    num_classes: int
    #: Whether targets may be `IGNORED`, but not all of a sample.
    may_ignore: bool


def layout_of(shape: DataShape) -> Layout:
    """Returns the layout of a shape's samples."""
    match shape:
        case Vectors(size, classes):
            return Layout((size,), None, (), classes, False)
        case Images(channels, height, width, classes):
            return Layout((channels, height, width), None, (), classes, False)
        case CausalTokens(vocab, length) | MaskedTokens(vocab, length, _):
            return Layout((length,), vocab, (length,), vocab, True)
        case ClassifiedTokens(vocab, length, classes):
            return Layout((length,), vocab, (), classes, False)
        case TokenPairs(vocab, source, target):
            return Layout((source + target,), vocab, (target,), vocab, True)


def check_inputs(inputs: Tensor, layout: Layout) -> None:
    """Raises LayoutMismatch unless the samples have the layout: shape, dtype, finite values, ids in range."""
    _check_shape(inputs, layout.input_shape)
    if layout.vocab_size is None:
        if not inputs.is_floating_point():
            raise LayoutMismatch(f"must be floats, not {_dtype(inputs)}")
        if not bool(inputs.isfinite().all()):
            raise LayoutMismatch("contains a NaN or an infinity")
    else:
        _check_integers(inputs)
        _check_range(inputs, layout.vocab_size, "token ids", "vocab_size")


def check_targets(targets: Tensor, layout: Layout) -> None:
    """Raises LayoutMismatch unless the targets have the layout: shape, dtype, classes in range."""
    if tuple(targets.shape[1:]) == (*layout.target_shape, layout.num_classes):
        raise LayoutMismatch("has a value for each class. Use the number of the class, as numpy.argmax gives it")
    _check_shape(targets, layout.target_shape)
    _check_integers(targets)
    if not layout.may_ignore:
        return _check_range(targets, layout.num_classes, "labels", "number of classes")
    predicted = targets != IGNORED
    if not bool(predicted.any(dim=1).all()):
        raise LayoutMismatch(f"has a sample with nothing to predict: all its targets are {IGNORED}")
    return _check_range(targets[predicted], layout.num_classes, "token ids", "vocab_size")


def _check_shape(values: Tensor, sample: tuple[int, ...]) -> None:
    if tuple(values.shape[1:]) != sample or values.dim() == 0:
        expected = ", ".join(["samples", *map(str, sample)])
        raise LayoutMismatch(f"must have the model's shape ({expected}), not {tuple(values.shape)}")


def _check_integers(values: Tensor) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype is torch.bool:
        raise LayoutMismatch(f"must be integers, not {_dtype(values)}")


def _check_range(values: Tensor, limit: int, what: str, limit_name: str) -> None:
    low, high = (int(bound) for bound in values.aminmax()) if values.numel() else (0, 0)
    if low < 0 or high >= limit:
        raise LayoutMismatch(f"has {what} from {low} to {high}; the model's {limit_name} is {limit}")


def _dtype(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def predictions_per_sample(shape: DataShape) -> int:
    """Approximate number of predicted targets in a sample."""
    if isinstance(shape, CausalTokens):
        return shape.length
    if isinstance(shape, TokenPairs):
        return shape.target_length
    if isinstance(shape, MaskedTokens):
        return max(1, shape.length // 7)
    return 1
