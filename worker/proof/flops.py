"""Lower bound of a step's FLOPs: those of the fastest known algorithms for its matrix products and convolutions.

torch's counter counts products. Convolutions are counted here, because torch's formula for their gradients ignores
`groups`, which overestimates a depthwise convolution dozens of times.
"""

from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

#: Smallest share of a convolution's multiplications that an algorithm needs, by the number of kernel sides longer than
#: 1. A kernel of 1 is a matrix product; up to 3, Winograd's F(4 x 4, 3 x 3) needs 36 of 144, and
#: F(4 x 4 x 4, 3 x 3 x 3) 216 of 1728 (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
LEAST_SHARES = (1, 1 / 4, 1 / 4, 1 / 8)

#: Longest side of a kernel for Winograd. Beyond, Fourier transforms need almost no multiplications per position
#: (Mathieu, Henaff & LeCun 2014, "Fast Training of Convolutional Networks through FFTs").
LONGEST_SIDE = 3

#: Operators with another order of arguments, which are not counted: the result is a lower bound.
UNCOUNTED = ("cudnn_convolution", "_slow_conv2d_forward", "convolution_overrideable")

aten = torch.ops.aten
Shape = list[int]


class FlopWatch:
    """Counts the lower bound of the FLOPs of operations while it is open."""

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
        """Returns the lower bound. Fused attention counts as 0: a causal kernel skips half of what torch counts."""
        counts = self._counter.get_flop_counts().get("Global", {})
        return round(sum(count for operation, count in counts.items() if "attention" not in str(operation)))


def least_convolution_flops(inputs: Shape, weight: Shape, outputs: Shape, transposed: bool) -> float:
    """Lower bound of the multiplications and additions of one convolution.

    `inputs` and `outputs` are (samples, channels, *sides); `weight` is (out_channels, in_channels / groups, *sides), or
    for a transposed convolution (in_channels, out_channels / groups, *sides). Every position of the output (of the
    input, for a transposed one) is multiplied with every weight once. Each gradient needs as many multiplications.
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
    """FLOPs of the requested gradients: of the input, and of the weight."""
    return sum(output_mask[:2]) * least_convolution_flops(inputs, weight, gradient, transposed)


def _nothing(*_: object, **__: object) -> int:
    return 0
