"""Synthetic question answering: the first token asks for one of several spans, each between two marks of its kind."""

import torch
from torch import Tensor

from halftime.contract.models.transformers import LEAST_SPAN_LENGTH
from halftime.plugin import Part

#: Most kinds of spans.
KINDS = 4
#: Fewest tokens for a span and what is around it.
LEAST_SEGMENT = 4
#: Smallest vocabulary: question, opening and closing mark of one kind, a token between them, and the last one.
LEAST_VOCABULARY = 5


class SpanSource:
    """A question token, then segments in random order, each with the span of one kind among random tokens.

    The answer reaches from the opening to the closing mark of the kind that the question token names. The answer
    follows from the tokens, so the best possible loss is 0 and the best possible accuracies are 1. The last token of
    the vocabulary, which may have a meaning of its own, does not occur.
    """

    best_possible_loss: float | None = 0.0
    best_possible_accuracy: float | None = None

    def __init__(self, vocab_size: int, length: int, generator: torch.Generator) -> None:
        assert length >= LEAST_SPAN_LENGTH, "a question and an answer"
        self.length = length
        self.sample_bytes = 8 * (length + 2)
        self.best_possible = {"exact_match": 1.0, "position_accuracy": 1.0}
        self.kinds = max(1, min(KINDS, (length - 1) // LEAST_SEGMENT, (vocab_size - 2) // 3))
        self.segment = (length - 1) // self.kinds
        reserved = torch.randperm(vocab_size - 1, generator=generator)
        #: (3, kinds): question, opening and closing mark of every kind
        self.marks = reserved[: 3 * self.kinds].view(3, self.kinds)
        self.others = reserved[3 * self.kinds :]

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `input_ids` (count, length), `start_positions` and `end_positions` (count,), all int64."""
        questions, openings, closings = self.marks
        tokens = self.others[torch.randint(len(self.others), (count, self.length), generator=generator)]
        places = torch.rand(count, self.kinds, generator=generator).argsort(dim=1)
        starts = 1 + self.segment * places + self._within(count, generator)
        ends = 1 + self.segment * places + self._within(count, generator)
        starts, ends = torch.minimum(starts, ends), torch.maximum(starts, ends)
        ends += ends == starts
        tokens.scatter_(1, starts, openings.expand(count, -1)).scatter_(1, ends, closings.expand(count, -1))
        asked = torch.randint(self.kinds, (count, 1), generator=generator)
        tokens[:, 0] = questions[asked[:, 0]]
        return {
            "input_ids": tokens,
            "start_positions": starts.gather(1, asked)[:, 0],
            "end_positions": ends.gather(1, asked)[:, 0],
        }

    def _within(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws a place in the segment of every kind, except its last, (count, kinds)."""
        return torch.randint(self.segment - 1, (count, self.kinds), generator=generator)
