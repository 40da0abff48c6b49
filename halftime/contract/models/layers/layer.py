"""The base class of layers in a `layers` model: output shape, number of weights, and work."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from halftime.contract.strict import Input

#: Largest number of elements of one sample between two layers: 1 GiB in FP32.
MAX_ELEMENTS = 2**28

#: A number of channels or features, or the size of a dimension.
Size = Annotated[int, Field(ge=1, le=65_536)]


class DoesNotFit(Exception):
    """A layer cannot take its input; `path` leads to it through blocks and their branches."""

    def __init__(self, reason: str, path: tuple[int | str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


@dataclass(frozen=True)
class Shape:
    """The shape of one sample between two layers, without the batch dimension."""

    #: [features], [length, width] of a sequence, [channels, length] or [channels, height, width].
    sizes: tuple[int, ...]
    #: For token IDs: the size of the vocabulary; else None.
    vocab_size: int | None = None
    #: Whether the first dimension is positions that must not depend on later ones.
    causal: bool = False

    @override
    def __str__(self) -> str:
        return ("token IDs " if self.vocab_size else "") + str(list(self.sizes))

    @property
    def elements(self) -> int:
        """Number of elements in a sample."""
        return math.prod(self.sizes)

    def to(self, *sizes: int) -> "Shape":
        """Returns the shape with other sizes, for numbers instead of token IDs."""
        return Shape(sizes, causal=self.causal)

    def require(self, *dimensions: str) -> tuple[int, ...]:
        """Returns the sizes, one per named dimension. Raises DoesNotFit for another number of dimensions."""
        if len(self.sizes) != len(dimensions):
            raise DoesNotFit(f"needs [{', '.join(dimensions)}], but its input is {self}")
        return self.sizes


class Layer(Input):
    """One entry of the list. The input size is inferred from the layer before."""

    type: str

    #: Whether the layer accepts token IDs, so that it can be the first layer of a model of tokens.
    takes_tokens: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of the output for an input shape. Raises DoesNotFit for an unsuitable input."""
        return shape

    def parameter_count(self, shape: Shape) -> int:
        """Counts the layer's own weights for an input shape; the layers in a block count theirs."""
        return 0

    def flops(self, shape: Shape) -> int:
        """Counts the FLOP of the layer's own matrix products in a forward pass of one sample, 2 per multiply-add."""
        return 0

    def matrix_width(self, shape: Shape) -> int | None:
        """Returns the columns of its matrix products if a trial can read their precision, else None."""
        return None

    def is_causal(self) -> bool:
        """Whether the output at a position is independent of later positions."""
        return False

    def least_batch_size(self, shape: Shape) -> int:
        """Returns the smallest batch that the layer can be trained with."""
        return 1

    def chains(self) -> list[list["Layer"]]:
        """Returns the lists of layers inside a block; empty for a plain layer."""
        return []

    def fit(self, shape: Shape) -> Shape:
        """Checks that the layer can take its input and returns the output shape. Raises DoesNotFit otherwise."""
        if shape.vocab_size and not self.takes_tokens:
            raise DoesNotFit(f"{self.type} needs numbers, but its input is {shape}: put an embedding first")
        if shape.causal and not self.is_causal():
            raise DoesNotFit(f"{self.type} uses later positions, which a causal language model must not do")
        try:
            output = self.output_shape(shape)
        except DoesNotFit as fault:
            raise fault if fault.path else DoesNotFit(f"{self.type} {fault.reason}") from None
        if output.elements > MAX_ELEMENTS:
            raise DoesNotFit(f"{self.type} has the output {output}, more than {MAX_ELEMENTS:,} numbers per sample")
        return output


def shape_after(layers: Sequence[Layer], shape: Shape, path: tuple[int | str, ...] = ()) -> Shape:
    """Returns the output shape of consecutive layers at `path`. Raises DoesNotFit with the path to the first misfit."""
    for index, layer in enumerate(layers):
        try:
            shape = layer.fit(shape)
        except DoesNotFit as fault:
            raise DoesNotFit(fault.reason, (*path, index, *fault.path)) from None
    return shape


def plain_layers(layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Yields every layer that is not a block, with its input shape."""
    for layer in layers:
        chains = layer.chains()
        if not chains:
            yield layer, shape
        for chain in chains:
            yield from plain_layers(chain, shape)
        shape = layer.output_shape(shape)
