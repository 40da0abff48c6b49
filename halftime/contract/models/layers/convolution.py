"""Convolution and pooling of [channels, height, width]; `conv1d` takes [channels, length]."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import override

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, Size

Kernel = Annotated[int, Field(ge=1, le=1024, description="size of the window, the same in every direction")]
Stride = Annotated[int, Field(ge=1, le=1024)]
Padding = Annotated[int, Field(ge=0, le=1024, description="number of zeros added on every side")]


def _slid(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Returns the number of positions of a window along a dimension. Raises DoesNotFit if there is none.

    Uses the formula of torch's Conv2d and MaxPool2d (Dumoulin & Visin 2016, "A guide to convolution arithmetic",
    eq. 15).
    """
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        raise DoesNotFit(f"has a window of {reach}, but its padded input has the size {size + 2 * padding}")
    return (size + 2 * padding - reach) // stride + 1


class _Convolution(Layer):
    """A convolution in any number of dimensions."""

    out_channels: Size
    kernel_size: Kernel
    stride: Stride = 1
    padding: Padding = 0
    dilation: Annotated[int, Field(ge=1, le=1024)] = 1
    groups: Size = Field(
        default=1, description="groups of channels; must divide input and output channels; one per channel: depthwise"
    )
    bias: bool = True

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        if self.out_channels % self.groups:
            raise PydanticCustomError("groups_do_not_divide", "groups must divide out_channels")
        return self

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts a kernel for every pair of channels within a group, and the bias."""
        return self._weights(shape) + self.bias * self.out_channels

    @override
    def flops(self, shape: Shape) -> int:
        """Counts every weight once per position of the kernel."""
        places = self.output_shape(shape).elements // self.out_channels
        return 2 * self._weights(shape) * places

    @override
    def matrix_width(self, shape: Shape) -> int:
        """Returns the number of output channels."""
        return self.out_channels

    def _weights(self, shape: Shape) -> int:
        channels, *places = shape.sizes
        weights: int = self.kernel_size ** len(places) * (channels // self.groups) * self.out_channels
        return weights

    def _convolve(self, shape: Shape, channels: int, *places: int) -> Shape:
        if channels % self.groups:
            raise DoesNotFit(f"has {self.groups} groups, which must divide its {channels} input channels")
        slid = (_slid(size, self.kernel_size, self.stride, self.padding, self.dilation) for size in places)
        return shape.to(self.out_channels, *slid)


class Conv1d(_Convolution):
    """A convolution along a sequence; for [length, width], add `transpose` before and after it."""

    type: Literal["conv1d"] = "conv1d"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [out_channels, positions of the kernel]."""
        return self._convolve(shape, *shape.require("channels", "length"))


class Conv2d(_Convolution):
    """A convolution over an image."""

    type: Literal["conv2d"] = "conv2d"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [out_channels, vertical positions of the kernel, horizontal positions]."""
        return self._convolve(shape, *shape.require("channels", "height", "width"))


class Pool2d(Layer):
    """The maximum or the mean of every window."""

    type: Literal["max_pool2d", "avg_pool2d"]
    kernel_size: Kernel
    stride: Stride | None = Field(default=None, description="distance between windows; null: kernel_size")
    padding: Padding = Field(default=0, description="padding on every side, at most half of kernel_size")

    @model_validator(mode="after")
    def _padding_is_at_most_half(self) -> Self:
        if 2 * self.padding > self.kernel_size:
            raise PydanticCustomError("padding_too_large", "padding must be at most half of kernel_size")
        return self

    @property
    def step(self) -> int:
        """The stride, with its default filled in."""
        return self.stride or self.kernel_size

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [input channels, vertical positions of the window, horizontal positions]."""
        channels, *places = shape.require("channels", "height", "width")
        return shape.to(channels, *(_slid(size, self.kernel_size, self.step, self.padding) for size in places))


class AdaptiveAvgPool2d(Layer):
    """Means over windows that are chosen so that the output is a square of `output_size`."""

    type: Literal["adaptive_avg_pool2d"] = "adaptive_avg_pool2d"
    output_size: int = Field(default=1, ge=1, le=1024)

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [input channels, output_size, output_size]."""
        channels, _, _ = shape.require("channels", "height", "width")
        return shape.to(channels, self.output_size, self.output_size)
