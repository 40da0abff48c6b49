"""The interface for packages that provide models, training tasks and data sets to a worker; see `docs/plugins.md`.

A batch is a tensor, or a tuple, list or dict of batches. The first dimension of every tensor is the samples. A model
that is trained by cross-entropy needs only the shape of its samples: one tensor of inputs, and one of targets, which
are classes (int64), or `IGNORED` at positions that are not predicted. Any other training is a `TrainingTask`.
Importing this module does not import torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: The target of a position that is not predicted: torch's default `ignore_index`.
IGNORED = -100


@dataclass(frozen=True)
class Vectors:
    """Float vectors (samples, size) → one class."""

    size: int
    num_classes: int


@dataclass(frozen=True)
class Images:
    """Float images (samples, channels, height, width) → one class."""

    channels: int
    height: int
    width: int
    num_classes: int


@dataclass(frozen=True)
class CausalTokens:
    """Token IDs (samples, length) → the token that follows each."""

    vocab_size: int
    length: int


@dataclass(frozen=True)
class MaskedTokens:
    """Token ids (samples, length), some replaced by `mask_token` → the replaced ids, and `IGNORED` elsewhere."""

    vocab_size: int
    length: int
    mask_token: int


@dataclass(frozen=True)
class ClassifiedTokens:
    """Token IDs (samples, length) → one class."""

    vocab_size: int
    length: int
    num_classes: int


@dataclass(frozen=True)
class TokenPairs:
    """Source and decoder tokens, concatenated (samples, source + target) → the token that follows each decoder token
    (samples, target)."""

    vocab_size: int
    source_length: int
    target_length: int


DataShape = Vectors | Images | CausalTokens | MaskedTokens | ClassifiedTokens | TokenPairs

#: Parts of a data set, whose samples do not overlap.
Part = Literal["training", "validation"]


#: A tensor, or a tuple, list or dict of batches.
Batch = Any


class Source(Protocol):
    """A source of samples.

    It may also have `best_possible` and `chance`: by the name of a metric, the value of the best possible model, and of
    one that has learned nothing.
    """

    #: Expected loss (nats) and accuracy of the best possible model; None if unknown.
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    #: Bytes of one sample.
    sample_bytes: int

    def sample(self, part: Part, count: int, generator: torch.Generator) -> Batch:
        """Draws a batch of `count` samples, on the CPU; for a shape, a pair of inputs and targets."""


@dataclass(frozen=True)
class Metric:
    """A figure of a model on held-out data: a mean over predictions, or another ratio of a sum to a count."""

    #: In reports and requirements: lower-case words joined by underscores.
    name: str
    better: Literal["higher", "lower"]
    #: For people; None: the name with spaces.
    title: str | None = None
    #: Empty for counts and fractions.
    unit: str = ""
    #: Of the best possible model, whatever the data; None if unknown or a property of the data.
    best: float | None = None
    #: Of a model that has learned nothing, whatever the data; None if unknown or a property of the data.
    chance: float | None = None
    #: Whether each prediction counts as 0 or 1 and the count is their number, so that the figure's sampling error is
    #: known: an accuracy is a share; a mean of errors is none.
    is_share: bool = False


#: The mean of `TrainingTask.loss` on held-out data. Every task has a metric of this name.
LOSS = Metric("loss", "lower", title="validation loss")


class TrainingTask(ABC):
    """What a model is trained to do: its loss, its metrics and the data that it is trained on by default.

    All randomness must be in the batches: every leg sees the same, and a step is repeated in FP64.
    """

    #: What `metrics` returns, in the order of reports.
    reported: Sequence[Metric] = (LOSS,)
    #: Shape of the samples, if they are one tensor of inputs and one of targets; None for any other batch.
    shape: DataShape | None = None
    #: Approximate number of predictions in a sample. By default, enough samples for 4096 predictions are held out.
    predictions_per_sample: int = 1

    @abstractmethod
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        """Returns the mean loss over the predictions of a batch: a scalar with a gradient. Called under autocast."""

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, tuple[Tensor | float, Tensor | float]]:
        """Returns a sum and a count for every metric, which are added over batches and then divided.

        Called in FP32 without autocast and without gradients, with the model in evaluation mode.
        """
        count = self.predictions(batch)
        return {"loss": (self.loss(model, batch) * count, count)}

    def predictions(self, batch: Batch) -> Tensor | int:
        """Number of predictions whose mean is the loss; a tensor must be on the batch's device.

        It weights the parts of a batch under gradient accumulation. Default: the number of samples.
        """
        while not hasattr(batch, "shape"):
            batch = next(iter(batch.values() if isinstance(batch, Mapping) else batch))
        return int(batch.shape[0])

    def chance(self, held_out: Sequence[Batch]) -> Mapping[str, float]:
        """Returns metrics of the best prediction that ignores its inputs, where they depend on the held-out batches.

        By the name of a metric; it takes the place of `Metric.chance`. Default: none.
        """
        return {}

    def source(self, seed: int) -> Source:
        """Creates the synthetic data. Raises NotImplementedError if there is none: then a request names data."""
        raise NotImplementedError


@dataclass(frozen=True)
class Blueprint:
    """A model to build and what it is trained to do. Nothing is allocated before `build`."""

    #: The shape of the samples of a model that maps one input tensor to logits, whose last dimension is the classes or
    #: tokens, and is trained by cross-entropy; or any other task.
    task: TrainingTask | DataShape
    #: Builds the module on torch's default device, with weights from its global generator.
    build: Callable[[], nn.Module]
