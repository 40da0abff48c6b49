"""Activation checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

Checkpoints the blocks of the container (`nn.ModuleList` or `nn.Sequential`) with the most parameters one by one: the
layers of a transformer, the residual blocks of a convolutional network. If that container is an `nn.Sequential` of
plain layers, it checkpoints segments of about the square root of their number (section 4.1 there): the input of a
single layer is as large as what it would save. Activations outside the container are kept as usual.
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
from typing_extensions import override

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed


def checkpoint_activations(model: nn.Module) -> None:
    """Makes the model keep only the inputs of its blocks and recompute activations in the backward pass.

    Parameters, their names and results are unchanged. Raises TrialFailed (`invalid_model`) when there are no blocks.
    """
    container = _largest_container(model)
    if isinstance(container, nn.Sequential) and all(_is_plain(child) for child in container):
        _set_behaviour(container, _CheckpointedSequence)
        return
    for child in container.children():
        _set_behaviour(child, _CheckpointedBlock)


class _CheckpointedBlock(nn.Module):
    """Mixin that checkpoints the forward pass of the next class in the method resolution order."""

    @override
    def forward(self, *args: object, **kwargs: object) -> object:
        return _checkpointed(self, super().forward, *args, **kwargs)


class _CheckpointedSequence(nn.Sequential):
    """An `nn.Sequential` checkpointed in segments."""

    @override
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
    """Calls torch's checkpoint, but updates the running statistics of batch norms only in the forward pass."""
    repeat = functools.partial(function, **kwargs)
    if torch.compiler.is_compiling():  # compiled code updates buffers once and does not support these contexts
        return checkpoint(repeat, *args, use_reentrant=False)
    return checkpoint(repeat, *args, use_reentrant=False, context_fn=functools.partial(_contexts, module))


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the forward pass and of its recomputation."""
    return contextlib.nullcontext(), _fixed_statistics(module)


@contextlib.contextmanager
def _fixed_statistics(module: nn.Module) -> Iterator[None]:
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
            "parameters). Set activation_checkpointing to false.",
        )
    return max(containers, key=_size)  # the outermost if several are equal


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_plain(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _set_behaviour(module: nn.Module, behaviour: type[nn.Module]) -> None:
    """Gives a module another forward pass by changing its class, not its attributes, so that copies of it work too."""
    kind = type(module)
    module.__class__ = type(kind.__name__, (behaviour, kind), {})
