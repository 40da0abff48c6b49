"""Convolution and pooling of [channels, height, width]; `conv1d` of [channels, length]."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, Size

Kernel = Annotated[int, Field(ge=1, le=1024, description="the same in every direction")]
Stride = Annotated[int, Field(ge=1, le=1024)]
Padding = Annotated[int, Field(ge=0, le=1024, description="zeros on every side")]


def _slid(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Places of a window along a dimension. Raises DoesNotFit where there is none.

    The formula of torch's Conv2d and MaxPool2d (Dumoulin & Visin 2016, "A guide to convolution arithmetic", eq. 15).
    """
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        raise DoesNotFit(f"has a window of {reach}, but the padded size that comes in is {size + 2 * padding}")
    return (size + 2 * padding - reach) // stride + 1


class _Convolution(Layer):
    """In any number of dimensions."""

    out_channels: Size
    kernel_size: Kernel
    stride: Stride = 1
    padding: Padding = 0
    dilation: Annotated[int, Field(ge=1, le=1024)] = 1
    groups: Size = Field(default=1, description="must divide the channels in and out; as many as channels: depthwise")
    bias: bool = True

    @model_validator(mode="after")
    def _groups_divide(self) -> Self:
        if self.out_channels % self.groups:
            raise PydanticCustomError("groups_do_not_divide", "groups must divide out_channels")
        return self

    def parameter_count(self, shape: Shape) -> int:
        """A kernel for every pair of channels within a group, and the bias."""
        return self._weights(shape) + self.bias * self.out_channels

    def flops(self, shape: Shape) -> int:
        """Every weight, once at every place of the kernel."""
        places = self.output_shape(shape).elements // self.out_channels
        return 2 * self._weights(shape) * places

    def matrix_width(self, shape: Shape) -> int:
        """The channels that come out."""
        return self.out_channels

    def _weights(self, shape: Shape) -> int:
        channels, *places = shape.sizes
        weights: int = self.kernel_size ** len(places) * (channels // self.groups) * self.out_channels
        return weights

    def _convolve(self, shape: Shape, channels: int, *places: int) -> Shape:
        if channels % self.groups:
            raise DoesNotFit(f"has {self.groups} groups, which must divide the {channels} channels that come in")
        slid = (_slid(size, self.kernel_size, self.stride, self.padding, self.dilation) for size in places)
        return shape.to(self.out_channels, *slid)


class Conv1d(_Convolution):
    """A convolution along a sequence; put `transpose` around it where the sequence is [length, width]."""

    type: Literal["conv1d"] = "conv1d"

    def output_shape(self, shape: Shape) -> Shape:
        """[out_channels, places of the kernel]."""
        return self._convolve(shape, *shape.require("channels", "length"))


class Conv2d(_Convolution):
    """A convolution over an image."""

    type: Literal["conv2d"] = "conv2d"

    def output_shape(self, shape: Shape) -> Shape:
        """[out_channels, places of the kernel down and across]."""
        return self._convolve(shape, *shape.require("channels", "height", "width"))


class Pool2d(Layer):
    """The largest or the mean of every window."""

    type: Literal["max_pool2d", "avg_pool2d"]
    kernel_size: Kernel
    stride: Stride | None = Field(default=None, description="null: kernel_size")
    padding: Padding = Field(default=0, description="at most half of kernel_size")

    @model_validator(mode="after")
    def _padding_is_at_most_half(self) -> Self:
        if 2 * self.padding > self.kernel_size:
            raise PydanticCustomError("padding_too_large", "padding must be at most half of kernel_size")
        return self

    @property
    def step(self) -> int:
        """The stride, its default filled in."""
        return self.stride or self.kernel_size

    def output_shape(self, shape: Shape) -> Shape:
        """The same channels, [places of the window down and across]."""
        channels, *places = shape.require("channels", "height", "width")
        return shape.to(channels, *(_slid(size, self.kernel_size, self.step, self.padding) for size in places))


class AdaptiveAvgPool2d(Layer):
    """Means of as many windows as it takes to put out a square of `output_size`."""

    type: Literal["adaptive_avg_pool2d"] = "adaptive_avg_pool2d"
    output_size: int = Field(default=1, ge=1, le=1024)

    def output_shape(self, shape: Shape) -> Shape:
        """The same channels."""
        channels, _, _ = shape.require("channels", "height", "width")
        return shape.to(channels, self.output_size, self.output_size)
