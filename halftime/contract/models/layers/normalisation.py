"""Normalisation layers, each with a learned scale and all but `rms_norm` with a learned shift."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, Size


class BatchNorm(Layer):
    """Normalises every channel, the first dimension, over the batch and all positions (Ioffe & Szegedy 2015)."""

    type: Literal["batch_norm"] = "batch_norm"

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts scale and shift of every channel."""
        return 2 * shape.sizes[0]

    @override
    def least_batch_size(self, shape: Shape) -> int:
        """Returns 2 for one value per channel, because a single value has no variance."""
        return 2 if shape.elements == shape.sizes[0] else 1


class GroupNorm(Layer):
    """Normalises groups of channels, the first dimension, within a sample (Wu & He 2018)."""

    type: Literal["group_norm"] = "group_norm"
    num_groups: Size = Field(description="number of groups; must divide the channels")

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the input shape."""
        if shape.sizes[0] % self.num_groups:
            raise DoesNotFit(
                f"has {self.num_groups} groups, which must divide the {shape.sizes[0]} channels of {shape}"
            )
        if shape.elements == self.num_groups:
            raise DoesNotFit(f"leaves a single number in each of its {self.num_groups} groups of {shape}")
        return shape

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts scale and shift of every channel."""
        return 2 * shape.sizes[0]


class LayerNorm(Layer):
    """Normalises over the last dimension (Ba et al. 2016)."""

    type: Literal["layer_norm"] = "layer_norm"

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts scale and shift of every feature."""
        return 2 * shape.sizes[-1]

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class RmsNorm(Layer):
    """Normalises over the last dimension, without a shift (Zhang & Sennrich 2019)."""

    type: Literal["rms_norm"] = "rms_norm"

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts the scale of every feature."""
        return shape.sizes[-1]

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True
