"""Blocks of layers: residual and parallel ones."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import override

from halftime.contract.models.layers.convolution import AdaptiveAvgPool2d, Conv1d, Conv2d, Pool2d
from halftime.contract.models.layers.dense import Activation, Dropout, Flatten, Linear, Transpose
from halftime.contract.models.layers.layer import DoesNotFit, Layer, Shape, shape_after
from halftime.contract.models.layers.normalisation import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from halftime.contract.models.layers.sequence import Embedding, Mean, PositionalEmbedding, Recurrent, SelfAttention


class _Block(Layer):
    """A block; whether it takes tokens and is causal is checked for its layers."""

    takes_tokens = True

    @override
    def is_causal(self) -> bool:
        """Returns True, because the layers inside are checked themselves."""
        return True


class Residual(_Block):
    """Adds the input to the output of its layers, which must not change the shape."""

    type: Literal["residual"] = "residual"
    layers: "list[AnyLayer]" = Field(min_length=1)

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the input shape."""
        after = shape_after(self.layers, shape, ("layers",))
        if after != shape:
            raise DoesNotFit(
                f"adds its input {shape} to the output {after} of its layers, which must have the same shape; to "
                "change the shape on both paths, use parallel with merge add"
            )
        return shape

    @override
    def chains(self) -> list[list[Layer]]:
        """Returns the list of layers inside."""
        return [list(self.layers)]


class Parallel(_Block):
    """Feeds the input to every branch and merges their outputs; an empty branch passes its input on.

    `concat` joins the channels of images, else the last dimension.
    """

    type: Literal["parallel"] = "parallel"
    branches: "list[list[AnyLayer]]" = Field(min_length=2, max_length=64)
    merge: Literal["add", "concat"] = "add"

    @override
    def output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of one branch for `add`, of all joined for `concat`."""
        outputs = [shape_after(branch, shape, ("branches", place)) for place, branch in enumerate(self.branches)]
        first = outputs[0]
        dimension = self.merged_dimension(first)
        for place, output in enumerate(outputs):
            if output.vocab_size:
                raise DoesNotFit(f"cannot merge token IDs from branch {place}: every branch must embed them")
            if self._must_agree(output, dimension) != self._must_agree(first, dimension):
                raise DoesNotFit(f"cannot {self.merge} {output} of branch {place} and {first} of branch 0")
        if self.merge == "add":
            return first
        total = sum(output.sizes[dimension] for output in outputs)
        return first.to(*first.sizes[:dimension], total, *first.sizes[dimension + 1 :])

    def merged_dimension(self, branch: Shape) -> int:
        """Returns the dimension along which `concat` joins branches of this shape, without the batch dimension."""
        return 0 if len(branch.sizes) == 3 else len(branch.sizes) - 1

    @override
    def chains(self) -> list[list[Layer]]:
        """Returns the branches."""
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
