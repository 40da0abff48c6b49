"""A model as a list of torch.nn layers from an allow-list; shapes are inferred at submission, without torch."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from halftime.contract.models.layers.convolution import AdaptiveAvgPool2d, Conv2d, Pool2d
from halftime.contract.models.layers.dense import MAX_FEATURES, Activation, Flatten, Linear
from halftime.contract.models.layers.layer import MAX_ELEMENTS, DoesNotFit, Shape, Size, plain_layers, shape_after
from halftime.contract.models.layers.normalisation import BatchNorm
from halftime.contract.models.layers.structure import AnyLayer, Residual
from halftime.contract.models.outputs import require_used_counts, without_unused_count
from halftime.contract.strict import Input, fault_at

#: Largest number of layers, including blocks and the layers in them.
MAX_LAYERS = 1000

#: Deepest nesting of blocks.
MAX_DEPTH = 8


def _within_bounds(layers: object) -> object:
    """Limits the number of layers and the nesting of blocks before other validators descend into them."""
    waiting: list[tuple[object, tuple[int | str, ...], int]] = [(layers, (), 0)]
    total = 0
    while waiting:
        chain, path, depth = waiting.pop()
        if not isinstance(chain, list):
            continue
        total += len(chain)
        if total > MAX_LAYERS:
            raise fault_at(
                (), "too_many_layers", f"at most {MAX_LAYERS:,} layers are allowed, including those in blocks"
            )
        for index, layer in enumerate(chain):
            inner = _chains(layer)
            if inner and depth == MAX_DEPTH:
                raise fault_at((*path, index), "too_deep", f"blocks may be nested at most {MAX_DEPTH} deep")
            waiting += [(below, (*path, index, *step), depth + 1) for below, step in inner]
    return layers


def _chains(layer: object) -> list[tuple[object, tuple[int | str, ...]]]:
    """Returns the lists of layers in a possible block, each with its path."""
    if not isinstance(layer, dict):
        return []
    branches = layer.get("branches")
    inner: list[tuple[object, tuple[int | str, ...]]] = [(layer["layers"], ("layers",))] if "layers" in layer else []
    if isinstance(branches, list):
        inner += [(branch, ("branches", place)) for place, branch in enumerate(branches)]
    return inner


def _small_convnet() -> list[AnyLayer]:
    def norm_and_relu() -> list[AnyLayer]:
        return [BatchNorm(), Activation(type="relu")]

    def convolution(channels: int) -> Conv2d:
        return Conv2d(out_channels=channels, kernel_size=3, padding=1, bias=False)

    return [
        convolution(32),
        *norm_and_relu(),
        Residual(layers=[convolution(32), *norm_and_relu(), convolution(32), BatchNorm()]),
        Activation(type="relu"),
        Pool2d(type="max_pool2d", kernel_size=2),
        convolution(64),
        *norm_and_relu(),
        AdaptiveAvgPool2d(),
        Flatten(),
        Linear(out_features=10),
    ]


class LayersSpec(Input):
    """A sequence of layers; the output of the last one is a score for every class or token, or the predicted numbers.

    With `vocab_size`, the input is token IDs and the first layer must be an `embedding`. In a causal language model,
    every layer must be causal: position-wise, attention with `causal`, or a recurrent network in one direction.
    """

    kind: Literal["layers"] = "layers"
    task: Literal["classification", "causal-lm", "regression"] = "classification"
    input_shape: list[Size] = Field(
        default=[3, 32, 32],
        min_length=1,
        max_length=3,
        description="shape of one sample: [features], [channels, height, width], or [length] of tokens",
    )
    vocab_size: int | None = Field(
        default=None, ge=2, le=MAX_FEATURES, description="size of the vocabulary; null: the input is numbers"
    )
    num_classes: int = Field(default=10, ge=2, le=100_000, description="number of classes; of a classification alone")
    num_targets: int = Field(
        default=1, ge=1, le=65_536, description="numbers that a regression predicts; of a regression alone"
    )
    layers: Annotated[list[AnyLayer], BeforeValidator(_within_bounds)] = Field(
        default=_small_convnet(), min_length=1, max_length=MAX_LAYERS
    )

    _without_unused_count = model_validator(mode="before")(without_unused_count)

    @model_validator(mode="after")
    def _layers_fit(self) -> Self:
        require_used_counts(self, self.task)
        self._check_input()
        try:
            output = shape_after(self.layers, self.first_shape)
        except DoesNotFit as fault:
            raise fault_at(("layers", *fault.path), "layer_does_not_fit", fault.reason) from None
        if output.sizes != self._required_output() or output.vocab_size:
            reason = f"the last layer must have the output {list(self._required_output())}, but has {output}"
            raise fault_at(("layers", len(self.layers) - 1), "output_does_not_fit", reason)
        if not self.matrix_widths():
            reason = (
                "at least one layer must be linear, a convolution or self_attention, whose precision can be verified"
            )
            raise fault_at(("layers",), "nothing_to_measure", reason)
        return self

    @property
    def first_shape(self) -> Shape:
        """The input shape of the first layer."""
        return Shape(tuple(self.input_shape), self.vocab_size, causal=self.task == "causal-lm")

    def parameter_count(self) -> int:
        """Counts weights, norms and biases of the module that `worker/models/layers.py` builds."""
        return sum(layer.parameter_count(shape) for layer, shape in plain_layers(self.layers, self.first_shape))

    def training_flops_per_sample(self) -> int:
        """Counts FLOP of matrix products; backward takes twice as many as forward (Kaplan et al. 2020, section 2.1)."""
        return 3 * sum(layer.flops(shape) for layer, shape in plain_layers(self.layers, self.first_shape))

    def least_batch_size(self) -> int:
        """Returns the smallest batch that the layers can be trained with."""
        return max(layer.least_batch_size(shape) for layer, shape in plain_layers(self.layers, self.first_shape))

    def matrix_widths(self) -> list[int]:
        """Returns the columns of the matrix products whose precision a trial can read, in order."""
        widths = (layer.matrix_width(shape) for layer, shape in plain_layers(self.layers, self.first_shape))
        return [width for width in widths if width is not None]

    def _check_input(self) -> None:
        if self.task == "causal-lm" and self.vocab_size is None:
            raise fault_at(("vocab_size",), "vocab_size_missing", "causal-lm needs a vocab_size")
        if self.task == "regression" and self.vocab_size is not None:
            raise fault_at(("vocab_size",), "regression_of_tokens", "the input of a regression is numbers, not tokens")
        lengths = {1} if self.vocab_size else {1, 3}
        if len(self.input_shape) not in lengths:
            allowed = "[length]" if self.vocab_size else "[features] or [channels, height, width]"
            raise fault_at(("input_shape",), "input_shape_does_not_fit", f"input_shape must be {allowed}")
        if self.first_shape.sizes == (1, 1, 1):
            raise fault_at(("input_shape",), "input_too_small", "an image must have more than one number")
        if self.first_shape.elements > MAX_ELEMENTS:
            reason = f"a sample may have at most {MAX_ELEMENTS:,} numbers"
            raise fault_at(("input_shape",), "input_too_large", reason)

    def _required_output(self) -> tuple[int, ...]:
        if self.task == "causal-lm":
            assert self.vocab_size is not None
            return (self.input_shape[0], self.vocab_size)
        return (self.num_targets if self.task == "regression" else self.num_classes,)
