"""Layers that treat every position alike."""

import math
from typing import Literal

from pydantic import Field

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape

#: Output features may be as many as a vocabulary has tokens.
MAX_FEATURES = 1_000_000


class Linear(Layer):
    """A matrix product over the last dimension."""

    type: Literal["linear"] = "linear"
    out_features: int = Field(ge=1, le=MAX_FEATURES)
    bias: bool = True

    def output_shape(self, shape: Shape) -> Shape:
        """Other features in the last dimension."""
        return shape.to(*shape.sizes[:-1], self.out_features)

    def parameter_count(self, shape: Shape) -> int:
        """One weight for every pair of features, and the bias."""
        return (shape.sizes[-1] + self.bias) * self.out_features

    def flops(self, shape: Shape) -> int:
        """Of every position."""
        return 2 * shape.elements * self.out_features

    def matrix_width(self, shape: Shape) -> int:
        """The features that come out."""
        return self.out_features

    def is_causal(self) -> bool:
        """Every position is alone."""
        return True


class Activation(Layer):
    """A function of every number; `softmax` is over the last dimension."""

    type: Literal["relu", "gelu", "silu", "tanh", "sigmoid", "softmax"]

    def is_causal(self) -> bool:
        """Every position is alone."""
        return True


class Dropout(Layer):
    """Sets numbers to zero at random in training."""

    type: Literal["dropout"] = "dropout"
    probability: float = Field(default=0.1, ge=0, lt=1)

    def is_causal(self) -> bool:
        """Every position is alone."""
        return True


class Flatten(Layer):
    """Joins the dimensions from `start_dim` to the last."""

    type: Literal["flatten"] = "flatten"
    start_dim: int = Field(default=1, ge=1, le=3, description="as torch counts: 0 would be the batch")

    def output_shape(self, shape: Shape) -> Shape:
        """The dimensions before, then one."""
        if self.start_dim > len(shape.sizes):
            raise DoesNotFit(f"has start_dim {self.start_dim}, but {shape} comes in")
        kept = shape.sizes[: self.start_dim - 1]
        return shape.to(*kept, shape.elements // math.prod(kept))


class Transpose(Layer):
    """Swaps two dimensions: [length, width], as linear layers and attention have it, and [channels, length]."""

    type: Literal["transpose"] = "transpose"

    def output_shape(self, shape: Shape) -> Shape:
        """The two sizes, swapped."""
        first, second = shape.require("length", "width")
        return shape.to(second, first)
