"""Layers for sequences: token IDs [length], then [length, width]."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, Size


class Embedding(Layer):
    """A learned vector for every token; the first layer of a model of tokens."""

    type: Literal["embedding"] = "embedding"
    embedding_dim: Size

    takes_tokens = True

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [length, embedding_dim]."""
        if shape.vocab_size is None:
            raise DoesNotFit(f"needs token IDs, but its input is {shape}")
        return shape.to(*shape.sizes, self.embedding_dim)

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts a row for every token."""
        return (shape.vocab_size or 0) * self.embedding_dim

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class PositionalEmbedding(Layer):
    """Adds a learned vector for every position."""

    type: Literal["positional_embedding"] = "positional_embedding"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the input shape."""
        shape.require("length", "width")
        return shape

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts a row for every position."""
        return shape.elements

    @override
    def is_causal(self) -> bool:
        """Returns True, because positions are independent."""
        return True


class SelfAttention(Layer):
    """Multi-head self-attention with its four linear maps (Vaswani et al. 2017)."""

    type: Literal["self_attention"] = "self_attention"
    num_heads: int = Field(ge=1, le=1024, description="attention heads; must divide the width")
    causal: bool = Field(default=False, description="mask later positions")
    bias: bool = True

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the input shape."""
        _, width = shape.require("length", "width")
        if width % self.num_heads:
            raise DoesNotFit(f"has {self.num_heads} heads, which must divide the width of {shape}")
        return shape

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts query, key, value and output maps."""
        width = shape.sizes[1]
        return 4 * (width + self.bias) * width

    @override
    def flops(self, shape: Shape) -> int:
        """Counts the maps, and the products of every pair of positions, masked or not."""
        length, width = shape.sizes
        return 8 * length * width**2 + 4 * length**2 * width

    @override
    def matrix_width(self, shape: Shape) -> int:
        """Returns the width."""
        return shape.sizes[1]

    @override
    def is_causal(self) -> bool:
        """Whether later positions are masked."""
        return self.causal


class Recurrent(Layer):
    """A recurrent network (Hochreiter & Schmidhuber 1997; Cho et al. 2014) that outputs its state at every position."""

    type: Literal["lstm", "gru"]
    hidden_size: Size
    num_layers: int = Field(default=1, ge=1, le=64)
    bidirectional: bool = Field(
        default=False, description="add a network that reads backwards, which doubles the output width"
    )

    @property
    def directions(self) -> int:
        """Number of networks that read the sequence."""
        return 2 if self.bidirectional else 1

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [length, directions x hidden_size]."""
        length, _ = shape.require("length", "width")
        return shape.to(length, self.directions * self.hidden_size)

    @override
    def parameter_count(self, shape: Shape) -> int:
        """Counts the weights from input and state to every gate, and two biases, as in torch."""
        return self._gates() * self.hidden_size * (self._fan_in(shape) + 2 * self.num_layers)

    @override
    def flops(self, shape: Shape) -> int:
        """Counts every weight once per position."""
        return 2 * self._gates() * self.hidden_size * self._fan_in(shape) * shape.sizes[0]

    @override
    def is_causal(self) -> bool:
        """Whether no network reads backwards."""
        return not self.bidirectional

    def _gates(self) -> int:
        return self.directions * {"lstm": 4, "gru": 3}[self.type]

    def _fan_in(self, shape: Shape) -> int:
        """Returns the inputs and states that one unit of a gate reads, summed over layers."""
        width, deeper = shape.sizes[1], (self.num_layers - 1) * self.directions * self.hidden_size
        return width + deeper + self.num_layers * self.hidden_size


class Mean(Layer):
    """The mean over positions: one vector per sequence."""

    type: Literal["mean"] = "mean"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns [width]."""
        _, width = shape.require("length", "width")
        return shape.to(width)
