"""Speech recognition by an encoder-decoder, as Whisper (Radford et al. 2022)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from halftime.plugin import Batch, Metric, Source
from worker.data.chance import chance_of
from worker.data.source import seeded
from worker.data.synthetic.speech import Sound, SpeechSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class SpeechSeq2Seq(OwnLoss):
    """Batches have recordings under `input_name`, and `labels` (samples, tokens), int64.

    The decoder reads the labels before the one that it predicts (teacher forcing), in training and in validation.
    """

    input_name: str
    sound: Sound
    vocab_size: int
    #: Tokens in a recording.
    tokens: int
    #: Tokens that are spoken.
    alphabet: tuple[int, ...]

    @property
    @override
    def reported(self) -> tuple[Metric, ...]:  # type: ignore[override] # computed, because chance depends on the vocabulary
        return (
            Metric("loss", "lower", "validation loss", "nats", chance=math.log(self.vocab_size)),
            Metric("accuracy", "higher", "validation accuracy", chance=1 / self.vocab_size, is_share=True),
        )

    @property
    @override
    def predictions_per_sample(self) -> int:  # type: ignore[override]
        return self.tokens

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        right = output.logits.argmax(dim=-1) == batch["labels"]
        return {"accuracy": (right.sum(), right.numel())}

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        found = chance_of((batch["labels"] for batch in held_out), self.vocab_size)
        return {"loss": found.loss, "accuracy": found.accuracy}

    @override
    def source(self, seed: int) -> Source:
        return SpeechSource(self.input_name, self.sound, self.tokens, self.alphabet, seeded("task", seed))
