"""Blocks of layers: beside a shortcut, or beside each other."""

from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.models.layers.convolution import AdaptiveAvgPool2d, Conv1d, Conv2d, Pool2d
from halftime.contract.models.layers.dense import Activation, Dropout, Flatten, Linear, Transpose
from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, shape_after
from halftime.contract.models.layers.normalisation import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from halftime.contract.models.layers.sequence import Embedding, Mean, PositionalEmbedding, Recurrent, SelfAttention


class _Block(Layer):
    """Layers whose own words say whether they take tokens and are causal."""

    takes_tokens = True

    def is_causal(self) -> bool:
        """It is what its layers are, and they are asked."""
        return True


class Residual(_Block):
    """Adds what comes in to what its layers make of it; they must not change the shape."""

    type: Literal["residual"] = "residual"
    layers: "list[AnyLayer]" = Field(min_length=1)

    def output_shape(self, shape: Shape) -> Shape:
        """The same."""
        after = shape_after(self.layers, shape, ("layers",))
        if after != shape:
            raise DoesNotFit(
                f"adds what comes in, {shape}, to what its layers put out, {after}: they must be alike; parallel with "
                "merge add can change the shape on both ways"
            )
        return shape

    def chains(self) -> list[list[Layer]]:
        """The one inside."""
        return [list(self.layers)]


class Parallel(_Block):
    """Every branch gets what comes in; an empty branch hands it on. `concat` joins channels of images, else the last
    dimension."""

    type: Literal["parallel"] = "parallel"
    branches: "list[list[AnyLayer]]" = Field(min_length=2, max_length=64)
    merge: Literal["add", "concat"] = "add"

    def output_shape(self, shape: Shape) -> Shape:
        """Of one branch, or of all together."""
        outputs = [shape_after(branch, shape, ("branches", place)) for place, branch in enumerate(self.branches)]
        first = outputs[0]
        dimension = self.merged_dimension(first)
        for place, output in enumerate(outputs):
            if output.vocab_size:
                raise DoesNotFit(
                    f"has nothing but token ids to merge from branch {place}: every branch must embed them"
                )
            if self._must_agree(output, dimension) != self._must_agree(first, dimension):
                raise DoesNotFit(f"cannot {self.merge} {output} of branch {place} and {first} of branch 0")
        if self.merge == "add":
            return first
        together = sum(output.sizes[dimension] for output in outputs)
        return first.to(*first.sizes[:dimension], together, *first.sizes[dimension + 1 :])

    def merged_dimension(self, branch: Shape) -> int:
        """Where `concat` joins branches of this shape: the batch is not counted."""
        return 0 if len(branch.sizes) == 3 else len(branch.sizes) - 1

    def chains(self) -> list[list[Layer]]:
        """The branches."""
        return [list(branch) for branch in self.branches]

    def _must_agree(self, output: Shape, dimension: int) -> tuple[int, ...]:
        if self.merge == "add":
            return output.sizes
        return (len(output.sizes), *output.sizes[:dimension], *output.sizes[dimension + 1 :])


AnyLayer = Annotated[
    Linear
    | Conv1d
    | Conv2d
    | Pool2d
    | AdaptiveAvgPool2d
    | BatchNorm
    | LayerNorm
    | GroupNorm
    | RmsNorm
    | Activation
    | Dropout
    | Embedding
    | PositionalEmbedding
    | SelfAttention
    | Recurrent
    | Flatten
    | Mean
    | Transpose
    | Residual
    | Parallel,
    Field(discriminator="type"),
]

Residual.model_rebuild()
Parallel.model_rebuild()
