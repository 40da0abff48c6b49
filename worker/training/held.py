"""Holds a model in the dtype of its leg, and casts where the model meets the rest of a step.

`bf16-true` holds weights in BF16 as `model.to(torch.bfloat16)` does: every floating parameter and buffer, the running
statistics of batch norms and tables of rotary embeddings among them. Batches and losses stay in FP32: floats are cast
to BF16 on their way into the model, and its outputs to FP32, as in Lightning's plugin `HalfPrecision`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree  # torch's own trees; it has no public name for them yet
from typing_extensions import override

#: torch's names of weights that are cast where they are used.
STORED = re.compile(r"parametrizations\.(\w+)\.original$")

HALF = (torch.bfloat16, torch.float16)

#: By its name, a parameter or buffer.
State = dict[str, Tensor]


def called_in(dtype: torch.dtype, model: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that calls a model with floats in a dtype and returns its floats in FP32."""
    if dtype is torch.float32:
        return model

    def call(*inputs: Any, **named_inputs: Any) -> Any:  # noqa: ANN401 # a model's own
        inputs, named_inputs = _floats_to(dtype, (inputs, named_inputs))
        return _floats_to(torch.float32, model(*inputs, **named_inputs))

    return call


def _floats_to(dtype: torch.dtype, tree: Any) -> Any:  # noqa: ANN401
    return pytree.tree_map(lambda leaf: leaf.to(dtype) if _is_float(leaf) else leaf, tree)


def hold(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts a model to the dtype of its leg; one that is built in another one than FP32 stays as it is built."""
    if dtype is not torch.float32:
        model.to(dtype)


@contextmanager
def in_fp32(model: nn.Module) -> Iterator[None]:
    """Casts a model to FP32, and back afterwards. The cast is exact, so every bit of the weights is as before.

    Memory: drop the gradients before, and the weights in FP32 take no more than weights and gradients in BF16 did.
    """
    parameters = [one for one in model.parameters() if one.dtype in HALF]
    buffers = [
        (module, name, value.dtype)
        for module in model.modules()
        for name, value in module.named_buffers(recurse=False)
        if value.dtype in HALF
    ]
    dtypes = [one.dtype for one in parameters]
    _cast(parameters, [torch.float32] * len(parameters))
    _cast_buffers([(module, name, torch.float32) for module, name, _ in buffers])
    try:
        yield
    finally:
        _cast(parameters, dtypes)
        _cast_buffers(buffers)


def _cast(parameters: list[nn.Parameter], dtypes: list[torch.dtype]) -> None:
    for parameter, dtype in zip(parameters, dtypes, strict=True):
        parameter.data = parameter.data.to(dtype)


def _cast_buffers(buffers: list[tuple[nn.Module, str, torch.dtype]]) -> None:
    for module, name, dtype in buffers:
        value = module.get_buffer(name)
        module._buffers[name] = value.to(dtype)


def widen_where_used(model: nn.Module) -> None:
    """Makes frozen weights that are stored in BF16 read as FP32, for a leg that multiplies in FP32.

    Each is cast where a forward pass reads it, also where that pass is recomputed. What backward needs is kept in FP32.
    """
    for module in list(model.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if not weight.requires_grad and weight.dtype is torch.bfloat16:
                parametrize.register_parametrization(module, name, _Widened(), unsafe=True)  # its dtype changes


class _Widened(nn.Module):
    """A tensor of lower precision as FP32; any other is as it is."""

    @override
    def forward(self, stored: Tensor) -> Tensor:
        """Returns the values that are multiplied."""
        return stored.float() if stored.dtype in HALF else stored


def state_of(model: nn.Module) -> State:
    """Every parameter and buffer, those that a state dict leaves out too, by the names that they are built with."""
    return {STORED.sub(r"\1", name): value for name, value in chain(model.named_parameters(), model.named_buffers())}


def copy_of(state: State) -> State:
    """A copy, detached."""
    return {name: value.detach().clone() for name, value in state.items()}


@torch.no_grad()
def restore(model: nn.Module, state: State) -> None:
    """Copies a state into a model, rounded to the dtypes that the model is held in."""
    for name, value in state_of(model).items():
        value.copy_(state[name])


def dtypes_held(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, dict[str, int]]:
    """Numbers of elements by dtype: of trained weights, their gradients and the optimizer's state.

    Without the optimizer's `step`, a count that torch keeps in FP32.
    """
    states = [
        value
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step" and isinstance(value, Tensor)
    ]
    return {
        "weights": _elements(parameters),
        "gradients": _elements([one.grad for one in parameters if one.grad is not None]),
        "optimizer": _elements(states),
    }


def _elements(tensors: list[Any]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[str(tensor.dtype).removeprefix("torch.")] += tensor.numel()
    return dict(counts)


@torch.no_grad()
def unmoved_share(parameters: dict[str, nn.Parameter], initial: State) -> float | None:
    """Share of trained weights whose value is the initial one, rounded to their dtype; None without any."""
    total = sum(weight.numel() for weight in parameters.values())
    same = sum(int((initial[name].to(one.dtype) == one.cpu()).sum()) for name, one in parameters.items())
    return same / total if total else None


def digest_of(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the bytes of tensors, on any device."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_float(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
