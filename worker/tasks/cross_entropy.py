"""Classification by cross-entropy, of whole samples or of every token: the task of most models."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.plugin import (
    IGNORED,
    LOSS,
    Batch,
    DataShape,
    Metric,
    Source,
    TrainingTask,
)
from worker.data.chance import chance_of
from worker.data.layout import layout_of, predictions_per_sample
from worker.data.source import seeded
from worker.data.synthetic import synthetic_source


@dataclass(frozen=True)
class CrossEntropy(TrainingTask):
    """Batches are pairs of inputs and classes; the last dimension of the model's logits is the classes or tokens."""

    shape: DataShape
    #: Of the training loss alone.
    label_smoothing: float = 0.0

    @property
    @override
    def reported(self) -> tuple[Metric, Metric]:  # type: ignore[override] # computed, because chance depends on the classes
        classes = layout_of(self.shape).num_classes
        return (
            Metric("loss", "lower", LOSS.title, "nats", chance=math.log(classes)),
            Metric("accuracy", "higher", "validation accuracy", chance=1 / classes, is_share=True),
        )

    @property
    @override
    def predictions_per_sample(self) -> int:  # type: ignore[override]
        return predictions_per_sample(self.shape)

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        inputs, targets = batch
        return cross_entropy(model(inputs), targets, self.label_smoothing)

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> dict[str, tuple[float, float]]:
        inputs, targets = batch
        logits = model(inputs)
        predicted = int((targets != IGNORED).sum())
        correct = float((logits.argmax(dim=-1) == targets).sum())
        return {
            "loss": (float(cross_entropy(logits, targets)) * predicted, predicted),
            "accuracy": (correct, predicted),
        }

    @override
    def predictions(self, batch: Batch) -> Tensor | int:
        _, targets = batch
        return (targets != IGNORED).sum() if layout_of(self.shape).may_ignore else len(targets)

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        found = chance_of((targets for _, targets in held_out), layout_of(self.shape).num_classes)
        return {"loss": found.loss, "accuracy": found.accuracy}

    @override
    def source(self, seed: int) -> Source:
        return synthetic_source(self.shape, seeded("task", seed))


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats over the predicted positions; the last dimension of `logits` is the classes.

    Smoothing takes that share of the target's probability and spreads it over all classes (Szegedy et al. 2016,
    "Rethinking the Inception Architecture", section 7).
    """
    return functional.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )
