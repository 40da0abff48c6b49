"""The least work of a step: what the fastest known algorithms need for its matrix products and convolutions.

Torch's counter counts products. Convolutions are counted here: its formula for their gradients leaves `groups` out,
which makes a depthwise convolution dozens of times as much work as it is.
"""

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

#: The share of a convolution's multiplications that an algorithm may get by with, by the number of its kernel's sides
#: that are longer than 1. A kernel of 1 is a matrix product; up to 3, Winograd's F(4 x 4, 3 x 3) needs 36 of 144, and
#: F(4 x 4 x 4, 3 x 3 x 3) 216 of 1728 (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
LEAST_SHARES = (1, 1 / 4, 1 / 4, 1 / 8)

#: The longest side of a kernel for Winograd. Beyond, Fourier transforms need next to nothing for each multiplication
#: (Mathieu, Henaff & LeCun 2014, "Fast Training of Convolutional Networks through FFTs").
LONGEST_SIDE = 3

#: Kernels that are given their arguments in another order are not counted: what is counted is a lower bound.
UNCOUNTED = ("cudnn_convolution", "_slow_conv2d_forward", "convolution_overrideable")

aten = torch.ops.aten
Shape = list[int]


class FlopWatch:
    """Counts the least FLOPs of what happens while it is open."""

    def __init__(self) -> None:
        formulas = {aten.convolution: _forward, aten._convolution: _forward, aten.convolution_backward: _backward}
        formulas |= {getattr(aten, name): _nothing for name in UNCOUNTED}
        self._counter = FlopCounterMode(display=False, custom_mapping=formulas)

    def __enter__(self) -> "FlopWatch":
        self._counter.__enter__()  # type: ignore[no-untyped-call] # torch's own
        return self

    def __exit__(self, *error: Any) -> None:  # noqa: ANN401 # what a context manager is given
        self._counter.__exit__(*error)  # type: ignore[no-untyped-call]

    def least_flops(self) -> int:
        """Fused attention counts as nothing: a causal kernel skips half of what torch would count."""
        counts = self._counter.get_flop_counts().get("Global", {})
        return round(sum(count for operation, count in counts.items() if "attention" not in str(operation)))


def least_convolution_flops(inputs: Shape, weight: Shape, outputs: Shape, transposed: bool) -> float:
    """Of one convolution: multiplications and additions.

    `inputs` and `outputs` are (samples, channels, *sides); `weight` is (out_channels, in_channels / groups, *sides), of
    a transposed one (in_channels, out_channels / groups, *sides). Every position of the output, of a transposed one of
    the input, meets every weight once. Either gradient needs the same multiplications again.
    """
    kernel = weight[2:]
    if max(kernel, default=1) > LONGEST_SIDE:
        return 0
    share = LEAST_SHARES[sum(side > 1 for side in kernel)]
    positions = prod((inputs if transposed else outputs)[2:])
    return share * 2 * inputs[0] * positions * prod(weight)


def _forward(
    inputs: Shape,
    weight: Shape,
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    *_: object,
    out_shape: Shape,
    **__: object,
) -> float:
    return least_convolution_flops(inputs, weight, out_shape, transposed)


def _backward(
    gradient: Shape,
    inputs: Shape,
    weight: Shape,
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    transposed: bool,
    output_padding: object,
    groups: object,
    output_mask: list[bool],
    **_: object,
) -> float:
    """Of the gradients that are asked for: of the input, and of the weight."""
    return sum(output_mask[:2]) * least_convolution_flops(inputs, weight, gradient, transposed)


def _nothing(*_: object, **__: object) -> int:
    return 0
