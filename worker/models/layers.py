"""Builds the modules of a `layers` model: one builder for every type of layer, given its input shape."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models import LayersSpec
from halftime.contract.models.layers import convolution, dense, normalisation, sequence, structure
from halftime.contract.models.layers.layer import Layer, Shape, shape_after
from halftime.plugin import CausalTokens, ClassifiedTokens, DataShape, Images, TrainingTask, Vectors
from worker.tasks.regression import Regression


class PositionalEmbedding(nn.Module):
    """(batch, length, width) → (batch, length, width): adds a learned vector to every position."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.weight, std=0.02)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """The sum."""
        return hidden + self.weight


class SelfAttention(nn.Module):
    """Multi-head self-attention: (batch, length, width) → (batch, length, width)."""

    def __init__(self, width: int, layer: sequence.SelfAttention) -> None:
        super().__init__()
        self.num_heads, self.causal = layer.num_heads, layer.causal
        self.query_key_value = nn.Linear(width, 3 * width, layer.bias)
        self.output = nn.Linear(width, width, layer.bias)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the attention output of every position."""
        batch, length, width = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        result: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, width))
        return result


class Recurrent(nn.Module):
    """An LSTM or GRU: (batch, length, width) → states of every position (batch, length, directions x hidden_size)."""

    def __init__(self, width: int, layer: sequence.Recurrent) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[layer.type]
        self.network = kind(
            width, layer.hidden_size, layer.num_layers, batch_first=True, bidirectional=layer.bidirectional
        )

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the states."""
        states: Tensor = self.network(hidden)[0]
        return states


class Mean(nn.Module):
    """(batch, length, width) → (batch, width)."""

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the mean over positions."""
        return hidden.mean(dim=1)


class Transpose(nn.Module):
    """(batch, first, second) → (batch, second, first)."""

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Swaps the two dimensions."""
        return hidden.transpose(1, 2)


class Residual(nn.Module):
    """Adds its input to the output of its layers."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """The sum."""
        result: Tensor = hidden + self.layers(hidden)
        return result


class Parallel(nn.Module):
    """Applies several branches to the same input and merges their outputs."""

    def __init__(self, branches: list[nn.Module], dimension: int | None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        #: Dimension in which outputs are concatenated; None: they are added.
        self.dimension = dimension

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the sum or the concatenation of the outputs."""
        outputs = [branch(hidden) for branch in self.branches]
        return torch.stack(outputs).sum(dim=0) if self.dimension is None else torch.cat(outputs, self.dimension)


def _linear(layer: dense.Linear, shape: Shape) -> nn.Module:
    return nn.Linear(shape.sizes[-1], layer.out_features, layer.bias)


def _convolution(
    kind: type[nn.Conv1d] | type[nn.Conv2d], layer: convolution.Conv1d | convolution.Conv2d, shape: Shape
) -> nn.Module:
    return kind(
        shape.sizes[0],
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias,
    )


def _pool(kind: type[nn.MaxPool2d] | type[nn.AvgPool2d], layer: convolution.Pool2d, shape: Shape) -> nn.Module:
    return kind(layer.kernel_size, layer.step, layer.padding)


def _batch_norm(layer: normalisation.BatchNorm, shape: Shape) -> nn.Module:
    kind = nn.BatchNorm2d if len(shape.sizes) == 3 else nn.BatchNorm1d
    return kind(shape.sizes[0])


def _embedding(layer: sequence.Embedding, shape: Shape) -> nn.Module:
    assert shape.vocab_size is not None
    return nn.Embedding(shape.vocab_size, layer.embedding_dim)


def _parallel(layer: structure.Parallel, shape: Shape) -> nn.Module:
    branches = [build_layers(branch, shape) for branch in layer.branches]
    if layer.merge == "add":
        return Parallel(branches, None)
    return Parallel(branches, 1 + layer.merged_dimension(shape_after(layer.branches[0], shape)))


#: Builders by `type`: each takes the layer and its input shape.
BUILDERS: dict[str, Callable[[Any, Shape], nn.Module]] = {
    "linear": _linear,
    "conv1d": partial(_convolution, nn.Conv1d),
    "conv2d": partial(_convolution, nn.Conv2d),
    "max_pool2d": partial(_pool, nn.MaxPool2d),
    "avg_pool2d": partial(_pool, nn.AvgPool2d),
    "adaptive_avg_pool2d": lambda layer, shape: nn.AdaptiveAvgPool2d(layer.output_size),
    "batch_norm": _batch_norm,
    "layer_norm": lambda layer, shape: nn.LayerNorm(shape.sizes[-1]),
    "group_norm": lambda layer, shape: nn.GroupNorm(layer.num_groups, shape.sizes[0]),
    "rms_norm": lambda layer, shape: nn.RMSNorm(shape.sizes[-1]),
    "relu": lambda layer, shape: nn.ReLU(),
    "gelu": lambda layer, shape: nn.GELU(),
    "silu": lambda layer, shape: nn.SiLU(),
    "tanh": lambda layer, shape: nn.Tanh(),
    "sigmoid": lambda layer, shape: nn.Sigmoid(),
    "softmax": lambda layer, shape: nn.Softmax(dim=-1),
    "dropout": lambda layer, shape: nn.Dropout(layer.probability),
    "embedding": _embedding,
    "positional_embedding": lambda layer, shape: PositionalEmbedding(*shape.sizes),
    "self_attention": lambda layer, shape: SelfAttention(shape.sizes[1], layer),
    "lstm": lambda layer, shape: Recurrent(shape.sizes[1], layer),
    "gru": lambda layer, shape: Recurrent(shape.sizes[1], layer),
    "flatten": lambda layer, shape: nn.Flatten(layer.start_dim),
    "mean": lambda layer, shape: Mean(),
    "transpose": lambda layer, shape: Transpose(),
    "residual": lambda layer, shape: Residual(build_layers(layer.layers, shape)),
    "parallel": _parallel,
}


def build_layers(layers: Sequence[Layer], shape: Shape) -> nn.Module:
    """Builds a sequence of layers whose first one gets samples of `shape`."""
    modules = []
    for layer in layers:
        modules.append(BUILDERS[layer.type](layer, shape))
        shape = layer.output_shape(shape)
    return nn.Sequential(*modules)


def task_of(spec: LayersSpec) -> TrainingTask | DataShape:
    """Returns the task, or for cross-entropy the shape of the data, that a model of this input is trained on."""
    if spec.task == "regression":
        return Regression(tuple(spec.input_shape), spec.num_targets)
    if spec.vocab_size is not None:
        (length,) = spec.input_shape
        if spec.task == "causal-lm":
            return CausalTokens(spec.vocab_size, length)
        return ClassifiedTokens(spec.vocab_size, length, spec.num_classes)
    if len(spec.input_shape) == 1:
        return Vectors(spec.input_shape[0], spec.num_classes)
    channels, height, width = spec.input_shape
    return Images(channels, height, width, spec.num_classes)
