"""The least bytes that an operation reads and writes, from its operands and results."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves

from worker.proof.flops import Arguments

#: By operator, the positions of arguments of which it needs no element, but the shape, the dtype or a few rows.
_UNREAD = {
    **dict.fromkeys(("embedding", "index", "index_select", "gather", "take"), (0,)),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "rand_like", "randn_like"), (0,)),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full"), (0,)),
    **dict.fromkeys(("copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "exponential_", "random_"), (0,)),
    **dict.fromkeys(("nll_loss_forward", "nll_loss2d_forward"), (0,)),
    **dict.fromkeys(("nll_loss_backward", "nll_loss2d_backward"), (1,)),
    **dict.fromkeys(("max_pool2d_with_indices_backward", "avg_pool2d_backward"), (1,)),
    **dict.fromkeys(("_adaptive_avg_pool2d_backward", "max_pool3d_with_indices_backward"), (1,)),
}
#: Operators that read from the unread argument as much as they return.
_PICKING = frozenset({"embedding", "index", "index_select", "gather", "take"})
#: Operators that change some rows of their first argument, by the position of what is added or put there.
_INTO_ROWS = {"index_put_": 2, "_index_put_impl_": 2, "index_add_": 3, "index_copy_": 3, "scatter_add_": 3}
#: Fused optimizers: the schema says that they change the gradients, which they do only to unscale them.
_GRADIENTS = {"_fused_adamw_": 1, "_fused_adam_": 1, "_fused_sgd_": 1}


def least_bytes(func: OpOverload, args: Arguments, kwargs: dict[str, Any], result: object) -> float:
    """Bytes that an operation reads and writes at least: each operand once, each result and changed operand once more.

    Repeated elements of an expanded tensor count once. Work that stays in a cache moves less.
    """
    schema = func._schema
    name = schema.name.removeprefix("aten::")
    if name in _INTO_ROWS:
        return 2 * _bytes_of(args[_INTO_ROWS[name]])
    given = [(schema.arguments[index], value) for index, value in enumerate(args)]
    given += [(one, kwargs[one.name]) for one in schema.arguments if one.name in kwargs]
    total = 0.0
    for index, (argument, value) in enumerate(given):
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        times = (index not in _UNREAD.get(name, ())) + (is_written and index != _GRADIENTS.get(name))
        total += times * _bytes_of(value)
    made = 0.0 if schema.is_mutable else _bytes_of(result)
    return total + made * (2 if name in _PICKING else 1)


def tensor_bytes(tensor: Tensor) -> float:
    """Bytes of a tensor's distinct elements; 0 for one without strides, such as a sparse one."""
    if tensor.layout is not torch.strided:
        return 0
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in sides if stride != 0 or size == 0) * tensor.itemsize


def size_class(size_bytes: float) -> int:
    """The smallest power of two that is not less than a number of bytes; 0 for none."""
    return 1 << math.ceil(math.log2(size_bytes)) if size_bytes > 0 else 0


def _bytes_of(value: object) -> float:
    return sum(map(tensor_bytes, _tensors(value)))


def _tensors(value: object) -> Iterator[Tensor]:
    return (one for one in tree_leaves(value) if isinstance(one, Tensor))
