"""Language modelling with a known optimum: sequences of a Markov chain."""

import torch
from torch import Tensor

from halftime.plugin import Part, TokenPairs
from worker.data.synthetic.markov import MarkovChain

#: First input token of a decoder.
START_TOKEN = 0


class LanguageSource:
    """Samples are token sequences; the target at each position is the next token.

    The chain's entropy rate is the lowest possible loss per token, the expected largest transition probability the
    highest accuracy (Cover & Thomas, "Elements of Information Theory", theorem 4.2.4), both under the stationary
    distribution.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, vocab_size: int, sequence_length: int, generator: torch.Generator) -> None:
        self.chain = MarkovChain(vocab_size, generator)
        self.sequence_length = sequence_length
        self.sample_bytes = 2 * 8 * sequence_length
        self.stationary = self.chain.stationary()
        entropies = torch.special.entr(self.chain.probabilities).sum(dim=1)
        self.best_possible_loss = float(self.stationary @ entropies)
        self.best_possible_accuracy = float(self.stationary @ self.chain.probabilities.max(dim=1).values)

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs and targets, both (count, sequence_length), int64; chains start in the stationary state."""
        first = torch.multinomial(self.stationary, count, replacement=True, generator=generator)
        tokens = self.chain.walk(first, self.sequence_length, generator)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class ContinuationSource:
    """The source is the beginning of a sequence, and the target is its continuation.

    Every target is the next token of a stationary chain, given the previous one (the source's last, for the first), so
    the optimum is that of `LanguageSource`.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, shape: TokenPairs, generator: torch.Generator) -> None:
        length = shape.source_length + shape.target_length
        self.whole = LanguageSource(shape.vocab_size, length - 1, generator)
        self._shape = shape
        self.sample_bytes = 8 * (length + shape.target_length)
        self.best_possible_loss = self.whole.best_possible_loss
        self.best_possible_accuracy = self.whole.best_possible_accuracy

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs (count, source + target): source, `START_TOKEN`, all targets but the last; and the targets."""
        inputs, followers = self.whole.sample(part, count, generator)
        source_length = self._shape.source_length
        start = torch.full((count, 1), START_TOKEN)
        targets = followers[:, source_length - 1 :].contiguous()
        return torch.cat([inputs[:, :source_length], start, targets[:, :-1]], dim=1), targets
