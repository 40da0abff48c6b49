"""Grouped matrix products in FP64, for which torch has no kernel: mixtures of experts multiply by them."""

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override


class GroupedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Computes grouped products of FP64, forward and backward, group by group while it is open."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Replaces the operator for FP64, and executes every other."""
        if func._schema.name == "aten::_grouped_mm" and args[0].dtype is torch.float64:
            return grouped_product(*args, **kwargs or {})
        return func(*args, **kwargs or {})


def grouped_product(
    left: Tensor, right: Tensor, ends: Tensor | None = None, bias: None = None, dtype: None = None
) -> Tensor:
    """Multiplies group by group. `ends`: where the groups end in the dimension that is not of groups.

    Of (rows, inner) and (groups, inner, columns) the rows are in groups, of (groups, rows, inner) and (inner, columns)
    the columns, and of (rows, inner) and (inner, columns) the terms, with a result per group
    (`torch.nn.functional.grouped_mm`). What is beyond the last end is zero.
    """
    if ends is None:
        return left @ right
    slices = [slice(begin, end) for begin, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)]
    if left.dim() == right.dim():
        return torch.stack([left[:, terms] @ right[terms] for terms in slices])
    product = left.new_zeros(left.shape[-2], right.shape[-1])
    for group, part in enumerate(slices):
        if left.dim() == 2:
            product[part] = left[part] @ right[group]
        else:
            product[:, part] = left[group] @ right[:, part]
    return product
