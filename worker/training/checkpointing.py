"""Activation checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

What is checkpointed: the blocks of the container (`nn.ModuleList` or `nn.Sequential`) that holds the most parameters,
each on its own: the layers of a transformer, the residual blocks of a convolutional network. Where that container is an
`nn.Sequential` of plain layers, about the square root of their number at a time (section 4.1 there): the input of a
single layer is as large as what it would keep. Everything outside the container is kept as usual.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed


def checkpoint_activations(model: nn.Module) -> None:
    """From now on the model keeps the inputs of its blocks, and computes them again in the backward pass.

    Raises TrialFailed (`invalid_model`) where it has no blocks. Parameters, their names and what is computed stay.
    """
    container = _largest_container(model)
    if isinstance(container, nn.Sequential) and all(_is_plain(child) for child in container):
        _become(container, _CheckpointedSequence)
        return
    for child in container.children():
        _become(child, _CheckpointedBlock)


class _CheckpointedBlock(nn.Module):
    """Before another class in the order of inheritance: its forward, checkpointed."""

    def forward(self, *args: object, **kwargs: object) -> object:
        return _checkpointed(self, super().forward, *args, **kwargs)


class _CheckpointedSequence(nn.Sequential):
    """An `nn.Sequential` that is checkpointed in segments."""

    def forward(self, hidden: object) -> object:
        layers = list(self)
        length = math.isqrt(len(layers))
        for first in range(0, len(layers), length):
            segment = functools.partial(_through, layers[first : first + length])
            hidden = _checkpointed(self, segment, hidden)
        return hidden


def _through(layers: list[nn.Module], hidden: object) -> object:
    for layer in layers:
        hidden = layer(hidden)
    return hidden


def _checkpointed(module: nn.Module, function: Callable[..., object], *args: object, **kwargs: object) -> object:
    """torch's checkpoint, with the running statistics of batch norms updated once and not again backward."""
    repeat = functools.partial(function, **kwargs)
    if torch.compiler.is_compiling():  # what is compiled updates buffers once; and takes no such contexts
        return checkpoint(repeat, *args, use_reentrant=False)
    return checkpoint(repeat, *args, use_reentrant=False, context_fn=functools.partial(_contexts, module))


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the forward pass and of its repetition."""
    return contextlib.nullcontext(), _statistics_held(module)


@contextlib.contextmanager
def _statistics_held(module: nn.Module) -> Iterator[None]:
    norms = [(norm, norm.momentum) for norm in module.modules() if isinstance(norm, _BatchNorm)]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum


def _largest_container(model: nn.Module) -> nn.Sequential | nn.ModuleList:
    containers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Sequential | nn.ModuleList) and len(module) > 1 and _size(module)
    ]
    if not containers:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            "activation_checkpointing: the model has no blocks to checkpoint (an nn.Sequential or nn.ModuleList with "
            "parameters). Set it to false.",
        )
    return max(containers, key=_size)  # the outermost of equals


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_plain(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _become(module: nn.Module, behaviour: type[nn.Module]) -> None:
    """Gives one module another forward. Its class changes, and not its attributes: a copy of it behaves the same, and
    calls itself and not the original."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (behaviour, kind), {})
