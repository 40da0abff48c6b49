"""Layers that treat every position alike, and changes of shape."""

import math
from typing import Literal

from pydantic import Field
from typing_extensions import override

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape

#: Largest number of output features, which may be the size of a vocabulary.
MAX_FEATURES = 1_000_000


class Linear(Layer):
    """A matrix product over the last dimension."""

    type: Literal["linear"] = "linear"
    out_features: int = Field(ge=1, le=MAX_FEATURES)
    bias: bool = True

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the input shape with out_features in the last dimension."""
        return shape.to(*shape.sizes[:-1], self.out_features)

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts one weight for every pair of features, and the bias."""
        return (shape.sizes[-1] + self.bias) * self.out_features

    @override
    def flops(self, shape: Shape) -> int:
        """Counts the products of all positions."""
        return 2 * shape.elements * self.out_features

    @override
    def matrix_width(self, shape: Shape) -> int:
        """Returns the number of output features."""
        return self.out_features

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class Activation(Layer):
    """An elementwise function; `softmax` is over the last dimension."""

    type: Literal["relu", "gelu", "silu", "tanh", "sigmoid", "softmax"]

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class Dropout(Layer):
    """Sets elements to zero at random in training."""

    type: Literal["dropout"] = "dropout"
    probability: float = Field(default=0.1, ge=0, lt=1)

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class Flatten(Layer):
    """Joins the dimensions from `start_dim` to the last one."""

    type: Literal["flatten"] = "flatten"
    start_dim: int = Field(
        default=1, ge=1, le=3, description="first dimension to join; counted as in torch: 0 is the batch"
    )

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the dimensions before `start_dim`, and one for the rest."""
        if self.start_dim > len(shape.sizes):
            raise DoesNotFit(f"has start_dim {self.start_dim}, but its input is {shape}")
        kept = shape.sizes[: self.start_dim - 1]
        return shape.to(*kept, shape.elements // math.prod(kept))


class Transpose(Layer):
    """Swaps two dimensions: [length, width], used by linear layers and attention, and [channels, length]."""

    type: Literal["transpose"] = "transpose"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the two sizes, swapped."""
        first, second = shape.require("length", "width")
        return shape.to(second, first)
