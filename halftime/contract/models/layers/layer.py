"""What every layer of a `layers` model knows of itself: the shape it puts out, its weights and its work."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from halftime.contract.strict import Input

#: Numbers that one sample may hold between two layers: 1 GiB in FP32.
MAX_ELEMENTS = 2**28

#: Channels, features and sizes of one dimension.
Size = Annotated[int, Field(ge=1, le=65_536)]


class DoesNotFit(Exception):
    """A layer that cannot take what comes in; `path` leads to it through blocks and their branches."""

    def __init__(self, reason: str, path: tuple[int | str, ...] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


@dataclass(frozen=True)
class Shape:
    """One sample between two layers; the batch is left out."""

    #: [features], [length, width] (of a sequence), [channels, length] or [channels, height, width].
    sizes: tuple[int, ...]
    #: Where token ids are meant: all are below this.
    vocab_size: int | None = None
    #: Whether the first dimension is positions of which none may see a later one.
    causal: bool = False

    def __str__(self) -> str:
        return ("token ids " if self.vocab_size else "") + str(list(self.sizes))

    @property
    def elements(self) -> int:
        """Numbers in a sample."""
        return math.prod(self.sizes)

    def to(self, *sizes: int) -> "Shape":
        """Numbers of other sizes in its place."""
        return Shape(sizes, causal=self.causal)

    def require(self, *dimensions: str) -> tuple[int, ...]:
        """Its sizes, one for every dimension named. Raises DoesNotFit."""
        if len(self.sizes) != len(dimensions):
            raise DoesNotFit(f"needs [{', '.join(dimensions)}], but {self} comes in")
        return self.sizes


class Layer(Input):
    """One entry of the list. In-features are inferred, never given."""

    type: str

    #: Only these can be the first layer of a model of tokens.
    takes_tokens: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """What it makes of a shape. Raises DoesNotFit."""
        return shape

    def parameter_count(self, shape: Shape) -> int:
        """Its own weights where this shape comes in; those of a block are its layers'."""
        return 0

    def flops(self, shape: Shape) -> int:
        """Its own matrix products in a forward pass of one sample: 2 per multiplication and addition."""
        return 0

    def matrix_width(self, shape: Shape) -> int | None:
        """Columns of its matrix products where a trial can read the precision of them; else None."""
        return None

    def is_causal(self) -> bool:
        """Whether what it puts out at a position depends on no later one."""
        return False

    def least_batch_size(self, shape: Shape) -> int:
        """Samples that it needs at once in training."""
        return 1

    def chains(self) -> list[list["Layer"]]:
        """The layers inside a block; none in a plain layer."""
        return []

    def fit(self, shape: Shape) -> Shape:
        """The shape it puts out, once it is certain that the layer can take what comes in. Raises DoesNotFit."""
        if shape.vocab_size and not self.takes_tokens:
            raise DoesNotFit(f"{self.type} needs numbers, but {shape} come in: put an embedding first")
        if shape.causal and not self.is_causal():
            raise DoesNotFit(f"{self.type} lets positions see later ones, which a causal language model must not")
        try:
            output = self.output_shape(shape)
        except DoesNotFit as fault:
            raise fault if fault.path else DoesNotFit(f"{self.type} {fault.reason}") from None
        if output.elements > MAX_ELEMENTS:
            raise DoesNotFit(f"{self.type} puts out {output}, more than {MAX_ELEMENTS:,} numbers per sample")
        return output


def shape_after(layers: Sequence[Layer], shape: Shape, path: tuple[int | str, ...] = ()) -> Shape:
    """What layers in a row, found at `path`, put out. Raises DoesNotFit with the path to the first that does not."""
    for index, layer in enumerate(layers):
        try:
            shape = layer.fit(shape)
        except DoesNotFit as fault:
            raise DoesNotFit(fault.reason, (*path, index, *fault.path)) from None
    return shape


def plain_layers(layers: Sequence[Layer], shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Every layer that is no block, each with the shape that comes in."""
    for layer in layers:
        chains = layer.chains()
        if not chains:
            yield layer, shape
        for chain in chains:
            yield from plain_layers(chain, shape)
        shape = layer.output_shape(shape)
