"""Extractive question answering: the first and the last token of the answer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from halftime.plugin import Batch, Metric, Source
from worker.data.chance import chance_of
from worker.data.source import seeded
from worker.data.synthetic.spans import SpanSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class QuestionAnswering(OwnLoss):
    """Batches have `input_ids` (samples, length), and `start_positions` and `end_positions` (samples,), all int64.

    The loss is the mean of the cross-entropies of the two positions.
    """

    vocab_size: int
    length: int

    @property
    @override
    def reported(self) -> tuple[Metric, ...]:  # type: ignore[override] # computed, because chance depends on the length
        return (
            Metric("loss", "lower", "validation loss", "nats", chance=math.log(self.length)),
            Metric("exact_match", "higher", "exact match of answers", chance=1 / self.length**2, is_share=True),
            Metric("position_accuracy", "higher", "accuracy of answers' ends", chance=1 / self.length, is_share=True),
        )

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        starts = output.start_logits.argmax(dim=-1) == batch["start_positions"]
        ends = output.end_logits.argmax(dim=-1) == batch["end_positions"]
        samples = len(starts)
        return {
            "exact_match": ((starts & ends).sum(), samples),
            "position_accuracy": (starts.sum() + ends.sum(), 2 * samples),
        }

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        starts, ends = (
            chance_of((batch[name] for batch in held_out), self.length) for name in ("start_positions", "end_positions")
        )
        spans = (batch["start_positions"] * self.length + batch["end_positions"] for batch in held_out)
        return {
            "loss": (starts.loss + ends.loss) / 2,
            "position_accuracy": (starts.accuracy + ends.accuracy) / 2,
            "exact_match": chance_of(spans, self.length**2).accuracy,
        }

    @override
    def source(self, seed: int) -> Source:
        return SpanSource(self.vocab_size, self.length, seeded("task", seed))
