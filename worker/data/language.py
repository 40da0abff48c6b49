"""Language with a known floor: a first-order Markov chain over the vocabulary."""

import torch
from torch import Tensor

from worker.data.source import Part

#: Tokens that can follow a token; a smaller vocabulary is used whole.
SUCCESSORS = 64

#: Standard deviation of the logits of the transition probabilities.
LOGIT_SCALE = 3.0

POWER_ITERATIONS = 200


class LanguageTask:
    """Samples are token sequences; the target at each position is the next token.

    Every token has up to 64 successors with softmax probabilities of Gaussian logits. The chain's entropy rate is
    the lowest possible loss per token, the expected largest transition probability the highest accuracy
    (Cover & Thomas, "Elements of Information Theory", theorem 4.2.4), both under the stationary distribution.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, vocab_size: int, sequence_length: int, generator: torch.Generator) -> None:
        self.vocab_size, self.sequence_length = vocab_size, sequence_length
        self.sample_bytes = 2 * 8 * sequence_length
        successors = min(vocab_size, SUCCESSORS)
        logits = LOGIT_SCALE * torch.randn(vocab_size, successors, generator=generator, dtype=torch.float64)
        self.probabilities = logits.softmax(dim=1)
        first = torch.randperm(vocab_size, generator=generator)
        self.successors = (first[:, None] + torch.arange(successors)) % vocab_size
        self.cumulative = self.probabilities.cumsum(dim=1)
        self.stationary = self._stationary()
        entropies = torch.special.entr(self.probabilities).sum(dim=1)
        self.best_possible_loss = float(self.stationary @ entropies)
        self.best_possible_accuracy = float(self.stationary @ self.probabilities.max(dim=1).values)

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and targets, both (count, sequence_length), int64; chains start in the stationary state."""
        tokens = torch.empty(count, self.sequence_length + 1, dtype=torch.int64)
        tokens[:, 0] = torch.multinomial(self.stationary, count, replacement=True, generator=generator)
        for position in range(self.sequence_length):
            here = tokens[:, position]
            drawn = torch.rand(count, 1, generator=generator, dtype=torch.float64)
            choice = torch.searchsorted(self.cumulative[here], drawn).clamp_(max=self.successors.shape[1] - 1)
            tokens[:, position + 1] = self.successors[here].gather(1, choice)[:, 0]
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def _stationary(self) -> Tensor:
        """By power iteration, until it moves no more."""
        weights = torch.full((self.vocab_size,), 1 / self.vocab_size, dtype=torch.float64)
        for _ in range(POWER_ITERATIONS):
            flow = (weights[:, None] * self.probabilities).flatten()
            after = torch.zeros_like(weights).index_add_(0, self.successors.flatten(), flow)
            moved = float((after - weights).abs().sum())
            weights = after
            if moved < 1e-9:
                break
        return weights
