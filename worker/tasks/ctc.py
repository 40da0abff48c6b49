"""Speech recognition by connectionist temporal classification (Graves et al. 2006)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from typing_extensions import override

from halftime.plugin import Batch, Metric, Source
from worker.data.source import seeded
from worker.data.synthetic.speech import Sound, SpeechSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class Ctc(OwnLoss):
    """Batches have recordings under `input_name`, and `labels` (samples, tokens), int64, all of one length.

    The loss is that of a sequence divided by its length, averaged over sequences. The library selects the labels by a
    mask, so every step waits for the device.
    """

    input_name: str
    sound: Sound
    #: Tokens in a recording.
    tokens: int
    #: Tokens that are spoken.
    alphabet: tuple[int, ...]
    blank: int

    reported = (
        Metric("loss", "lower", "validation loss", "nats per token"),
        Metric("token_error_rate", "lower", chance=1.0),
    )

    @property
    @override
    def predictions_per_sample(self) -> int:  # type: ignore[override]
        return self.tokens

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        labels: list[list[int]] = batch["labels"].tolist()
        decoded = greedy(output.logits, self.blank)
        errors = sum(edit_distance(found, expected) for found, expected in zip(decoded, labels, strict=True))
        return {"token_error_rate": (errors, sum(map(len, labels)))}

    @override
    def source(self, seed: int) -> Source:
        return SpeechSource(self.input_name, self.sound, self.tokens, self.alphabet, seeded("task", seed))


def greedy(logits: Tensor, blank: int) -> list[list[int]]:
    """(samples, frames, vocabulary) → the most probable token of every frame, without repetitions and blanks."""
    return [
        [token for before, token in zip([blank, *best], best, strict=False) if token not in (before, blank)]
        for best in logits.argmax(dim=-1).tolist()
    ]


def edit_distance(found: Sequence[int], expected: Sequence[int]) -> int:
    """Fewest insertions, deletions and substitutions between two sequences (Levenshtein 1966)."""
    distances = list(range(len(expected) + 1))
    for row, token in enumerate(found, 1):
        diagonal, distances[0] = distances[0], row
        for column, other in enumerate(expected, 1):
            changed = diagonal + (token != other)
            diagonal = distances[column]
            distances[column] = min(changed, diagonal + 1, distances[column - 1] + 1)
    return distances[-1]
