"""Norms, each with a learned scale, and all but one with a learned shift."""

from typing import Literal

from pydantic import Field

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, Size


class BatchNorm(Layer):
    """Of every channel, the first dimension, over the batch and all places (Ioffe & Szegedy 2015)."""

    type: Literal["batch_norm"] = "batch_norm"

    def parameter_count(self, shape: Shape) -> int:
        """Scale and shift of every channel."""
        return 2 * shape.sizes[0]

    def least_batch_size(self, shape: Shape) -> int:
        """A single value has no variance."""
        return 2 if shape.elements == shape.sizes[0] else 1


class GroupNorm(Layer):
    """Of groups of channels, the first dimension, within a sample (Wu & He 2018)."""

    type: Literal["group_norm"] = "group_norm"
    num_groups: Size = Field(description="must divide the channels")

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        if shape.sizes[0] % self.num_groups:
            raise DoesNotFit(
                f"has {self.num_groups} groups, which must divide the {shape.sizes[0]} channels of {shape}"
            )
        if shape.elements == self.num_groups:
            raise DoesNotFit(f"leaves a single number in each of its {self.num_groups} groups of {shape}")
        return shape

    def parameter_count(self, shape: Shape) -> int:
        """Scale and shift of every channel."""
        return 2 * shape.sizes[0]


class LayerNorm(Layer):
    """Over the last dimension (Ba et al. 2016)."""

    type: Literal["layer_norm"] = "layer_norm"

    def parameter_count(self, shape: Shape) -> int:
        """Scale and shift of every feature."""
        return 2 * shape.sizes[-1]

    def is_causal(self) -> bool:
        """Every position is alone."""
        return True


class RmsNorm(Layer):
    """Over the last dimension, without a shift (Zhang & Sennrich 2019)."""

    type: Literal["rms_norm"] = "rms_norm"

    def parameter_count(self, shape: Shape) -> int:
        """The scale of every feature."""
        return shape.sizes[-1]

    def is_causal(self) -> bool:
        """Every position is alone."""
        return True
