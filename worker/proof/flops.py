"""The work of operators that multiply: their FLOPs as written down, and those of the fastest known algorithm.

Operators that call no product of torch's, such as a package's own kernels, are not known and count nothing. The lower
bound may leave work out, but never counts work that a kernel need not do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

#: Smallest share of a convolution's multiplications that an algorithm needs, by the number of kernel sides longer than
#: 1. A kernel of 1 is a matrix product; up to 3, Winograd's F(4 x 4, 3 x 3) needs 36 of 144, and
#: F(4 x 4 x 4, 3 x 3 x 3) 216 of 1728 (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
LEAST_SHARES = (1, 1 / 4, 1 / 4, 1 / 8)

#: Longest side of a kernel for Winograd. Beyond, Fourier transforms need almost no multiplications per position
#: (Mathieu, Henaff & LeCun 2014, "Fast Training of Convolutional Networks through FFTs").
LONGEST_SIDE = 3

#: The operators that multiply matrices, with the positions of their two operands.
OPERANDS = {
    "aten::mm": (0, 1),
    "aten::addmm": (1, 2),
    "aten::bmm": (0, 1),
    "aten::baddbmm": (1, 2),
    "aten::addbmm": (1, 2),
    "aten::mv": (0, 1),
    "aten::addmv": (1, 2),
    "aten::_int_mm": (0, 1),
    "aten::_scaled_mm": (0, 1),
}

#: Fused attention: the operators whose first operands are query, key and value; their backward passes have the output's
#: gradient before them.
ATTENTION = (
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::_scaled_dot_product_fused_attention_overrideable",
)

Shape = Sequence[int]
Arguments = tuple[Any, ...]
#: A number of FLOPs; a tensor where it depends on data, which the host must not wait for during a step.
Count = float | Tensor


@dataclass(frozen=True)
class Work:
    """The work of one execution of an operator."""

    #: The dtype of the operands.
    dtype: torch.dtype
    #: One multiplication and one addition per term, masked terms included.
    flops: Count
    least_flops: Count


def work_of(operator: str, args: Arguments, result: Any) -> Work | None:  # noqa: ANN401 # what an operator returns
    """Returns the work of an operator, by its name in torch's schema; None if it is not known to multiply."""
    formula = FORMULAS.get(operator)
    return formula(args, result) if formula else None


def convolution_flops(inputs: Shape, weight: Shape, outputs: Shape, transposed: bool) -> int:
    """Multiplications and additions of one convolution.

    `inputs` and `outputs` are (samples, channels, *sides); `weight` is (out_channels, in_channels / groups, *sides), or
    for a transposed convolution (in_channels, out_channels / groups, *sides). Every position of the output (of the
    input, for a transposed one) is multiplied with every weight once. Each gradient needs as many multiplications.
    torch's own formula for the gradients ignores `groups`.
    """
    positions = prod((inputs if transposed else outputs)[2:])
    return 2 * inputs[0] * positions * prod(weight)


def least_convolution_share(kernel: Shape) -> float:
    """Smallest share of a convolution's FLOPs that an algorithm needs, by the sides of its kernel."""
    if max(kernel, default=1) > LONGEST_SIDE:
        return 0
    return LEAST_SHARES[sum(side > 1 for side in kernel)]


def _matrix_product(args: Arguments, _: object, operands: tuple[int, int]) -> Work:
    left, right = (args[position] for position in operands)
    flops = 2 * left.numel() * (right.shape[-1] if right.dim() > 1 else 1)
    return Work(left.dtype, flops, flops)


def _grouped_product(args: Arguments, _: object, ends_at: int) -> Work:
    """A product per group. The ends of the groups divide one dimension; what is beyond the last is left out."""
    left, right = args[:2]
    (rows, inner), columns = left.shape[-2:], right.shape[-1]
    ends = args[ends_at] if len(args) > ends_at else None
    if ends is None:
        flops: Count = 2 * left.numel() * columns
    elif right.dim() > 2:
        flops = ends[-1].double() * (2 * inner * columns)
    elif left.dim() > 2:
        flops = ends[-1].double() * (2 * rows * inner)
    else:
        flops = ends[-1].double() * (2 * rows * columns)
    return Work(left.dtype, flops, flops)


def _convolution(args: Arguments, result: Tensor) -> Work:
    inputs, weight, transposed = args[0], args[1], args[6]
    return _convolution_work(inputs, weight, result, transposed, passes=1)


def _convolution_gradients(args: Arguments, _: object) -> Work:
    """The gradients asked for: of the input, and of the weight."""
    gradient, inputs, weight, transposed, output_mask = args[0], args[1], args[2], args[7], args[10]
    return _convolution_work(inputs, weight, gradient, transposed, passes=sum(output_mask[:2]))


def _convolution_work(inputs: Tensor, weight: Tensor, outputs: Tensor, transposed: bool, passes: int) -> Work:
    flops = passes * convolution_flops(inputs.shape, weight.shape, outputs.shape, transposed)
    return Work(inputs.dtype, flops, flops * least_convolution_share(weight.shape[2:]))


def _attention(args: Arguments, _: object) -> Work:
    """The products of query and key, and of their weights and the value."""
    query, key, value = args[:3]
    return _attention_work(query, key, query.shape[-1] + value.shape[-1])


def _attention_gradients(args: Arguments, _: object) -> Work:
    """The product of query and key once more, and two gradients for each of the two products."""
    query, key, value = args[1:4]
    return _attention_work(query, key, 3 * query.shape[-1] + 2 * value.shape[-1])


def _attention_work(query: Tensor, key: Tensor, widths: int) -> Work:
    """The work of products of altogether `widths` terms or columns. At least 0: a causal kernel skips positions."""
    return Work(query.dtype, 2 * prod(query.shape[:-1]) * key.shape[-2] * widths, 0)


def _mkldnn_recurrent(args: Arguments, _: object, passes: int) -> Work:
    return _recurrent_work(args[0], args[1:3], passes)


def _cudnn_recurrent(args: Arguments, _: object, passes: int) -> Work:
    return _recurrent_work(args[0], args[1], passes)


def _recurrent_work(inputs: Tensor, weights: Sequence[Tensor], passes: int) -> Work:
    """Every position of a sequence times every matrix; backward, twice, or once at least where weights are frozen."""
    positions = prod(inputs.shape[:-1])
    flops = 2 * positions * sum(weight.numel() for weight in weights if weight.dim() > 1)
    return Work(inputs.dtype, passes * flops, flops)


#: The formulas by operator, given its arguments and its result.
FORMULAS: dict[str, Callable[[Arguments, Any], Work]] = {
    **{name: partial(_matrix_product, operands=operands) for name, operands in OPERANDS.items()},
    "aten::_grouped_mm": partial(_grouped_product, ends_at=2),
    "aten::_scaled_grouped_mm": partial(_grouped_product, ends_at=4),
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
    "aten::convolution_backward": _convolution_gradients,
    **dict.fromkeys(ATTENTION, _attention),
    **dict.fromkeys([f"{name}_backward" for name in ATTENTION], _attention_gradients),
    "aten::mkldnn_rnn_layer": partial(_mkldnn_recurrent, passes=1),
    "aten::mkldnn_rnn_layer_backward": partial(_mkldnn_recurrent, passes=2),
    "aten::_cudnn_rnn": partial(_cudnn_recurrent, passes=1),
    "aten::_cudnn_rnn_backward": partial(_cudnn_recurrent, passes=2),
}
