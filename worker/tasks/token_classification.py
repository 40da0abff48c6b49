"""Token classification: one class for every token, as in tagging."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from typing_extensions import override

from halftime.plugin import IGNORED, Batch, Metric, Source
from worker.data.chance import chance_of
from worker.data.source import seeded
from worker.data.synthetic.labelled_tokens import LabelledTokensSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class TokenClassification(OwnLoss):
    """Batches have `input_ids` and `labels`, both (samples, length), int64; `IGNORED` labels are not predicted."""

    vocab_size: int
    length: int
    num_classes: int

    @property
    @override
    def reported(self) -> tuple[Metric, ...]:  # type: ignore[override] # computed, because chance depends on the classes
        return (
            Metric("loss", "lower", "validation loss", "nats", chance=math.log(self.num_classes)),
            Metric("accuracy", "higher", "validation accuracy", chance=1 / self.num_classes, is_share=True),
        )

    @property
    @override
    def predictions_per_sample(self) -> int:  # type: ignore[override]
        return self.length

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        right = output.logits.argmax(dim=-1) == batch["labels"]
        return {"accuracy": (right.sum(), self.predictions(batch))}

    @override
    def predictions(self, batch: Batch) -> Tensor:
        labelled: Tensor = batch["labels"] != IGNORED
        return labelled.sum()

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        found = chance_of((batch["labels"] for batch in held_out), self.num_classes)
        return {"loss": found.loss, "accuracy": found.accuracy}

    @override
    def source(self, seed: int) -> Source:
        return LabelledTokensSource(self.vocab_size, self.length, self.num_classes, seeded("task", seed))
