"""What tensors of samples must look like to fit a model, and whether they do."""

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


class Misfit(Exception):
    """Samples that do not fit a model; in words that follow the name of what holds them."""


@dataclass(frozen=True)
class Layout:
    """Of one sample."""

    input_shape: tuple[int, ...]
    #: Inputs are token ids below this; None: floats.
    vocab_size: int | None
    target_shape: tuple[int, ...]
    num_classes: int
    #: Targets may be `IGNORED`, though not all of a sample.
    may_ignore: bool


def layout_of(shape: DataShape) -> Layout:
    """What a shape asks of a sample."""
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
    """Raises Misfit unless the samples are of the layout: shape, dtype, finite, ids in range."""
    _check_shape(inputs, layout.input_shape)
    if layout.vocab_size is None:
        if not inputs.is_floating_point():
            raise Misfit(f"must be floats, not {_dtype(inputs)}")
        if not bool(inputs.isfinite().all()):
            raise Misfit("holds a NaN or an infinity")
    else:
        _check_integers(inputs)
        _check_range(inputs, layout.vocab_size, "token ids", "vocab_size")


def check_targets(targets: Tensor, layout: Layout) -> None:
    """Raises Misfit unless the samples' targets are of the layout: shape, dtype, classes in range."""
    _check_shape(targets, layout.target_shape)
    _check_integers(targets)
    if not layout.may_ignore:
        return _check_range(targets, layout.num_classes, "labels", "number of classes")
    told = targets != IGNORED
    if not bool(told.any(dim=1).all()):
        raise Misfit(f"has a sample with nothing to predict: all of it is {IGNORED}")
    return _check_range(targets[told], layout.num_classes, "token ids", "vocab_size")


def _check_shape(values: Tensor, sample: tuple[int, ...]) -> None:
    if tuple(values.shape[1:]) != sample or values.dim() == 0:
        wanted = ", ".join(["samples", *map(str, sample)])
        raise Misfit(f"must have the shape ({wanted}), which the model asks for, not {tuple(values.shape)}")


def _check_integers(values: Tensor) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype is torch.bool:
        raise Misfit(f"must be integers, not {_dtype(values)}")


def _check_range(values: Tensor, limit: int, what: str, named: str) -> None:
    low, high = (int(bound) for bound in values.aminmax()) if values.numel() else (0, 0)
    if low < 0 or high >= limit:
        raise Misfit(f"holds {what} from {low} to {high}; the model's {named} is {limit}")


def _dtype(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def predictions_per_sample(shape: DataShape) -> int:
    """Targets that a sample holds, about."""
    if isinstance(shape, CausalTokens):
        return shape.length
    if isinstance(shape, TokenPairs):
        return shape.target_length
    if isinstance(shape, MaskedTokens):
        return max(1, shape.length // 7)
    return 1
