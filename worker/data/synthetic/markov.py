"""A seeded first-order Markov chain over a vocabulary, the basis of the synthetic language tasks."""

import torch
from torch import Tensor

#: Number of tokens that can follow a token, limited by the vocabulary.
SUCCESSORS = 64

#: Standard deviation of the logits of the transition probabilities.
LOGIT_SCALE = 3.0

#: Most iterations. A large vocabulary needs some tens; a chain of few tokens may converge slowly, but fast per step.
POWER_ITERATIONS = 10_000


class MarkovChain:
    """Every token has up to 64 successors with softmax probabilities of Gaussian logits.

    The successors of a token are contiguous in the vocabulary, from a random first one on. So the distance to the first
    tells which successor another token is, if any, without a search or a matrix.
    """

    def __init__(self, vocab_size: int, generator: torch.Generator) -> None:
        self.vocab_size = vocab_size
        successors = min(vocab_size, SUCCESSORS)
        logits = LOGIT_SCALE * torch.randn(vocab_size, successors, generator=generator, dtype=torch.float64)
        #: (vocab_size, successors): probability of each successor
        self.probabilities = logits.softmax(dim=1)
        self._first = torch.randperm(vocab_size, generator=generator)
        self._offsets = torch.arange(successors)

    def successors(self, tokens: Tensor) -> Tensor:
        """(…) → (…, successors): the successors of tokens, in the order of `probabilities`."""
        return (self._first[tokens][..., None] + self._offsets) % self.vocab_size

    def place(self, before: Tensor, after: Tensor) -> Tensor:
        """Index of `after` among the successors of `before`, elementwise; not a successor if beyond their number."""
        return (after - self._first[before]) % self.vocab_size

    def transition(self, before: Tensor, after: Tensor) -> Tensor:
        """Probability that `after` follows `before`, elementwise."""
        place, last = self.place(before, after), len(self._offsets) - 1
        return torch.where(place <= last, self.probabilities[before, place.clamp(max=last)], 0.0)

    def walk(self, first: Tensor, steps: int, generator: torch.Generator, shift: Tensor | int = 0) -> Tensor:
        """(count,) first tokens → (count, steps + 1) tokens; probabilities are those of the token + `shift`."""
        tokens = torch.empty(len(first), steps + 1, dtype=torch.int64)
        tokens[:, 0] = first
        for position in range(steps):
            here = tokens[:, position]
            cumulative = self.probabilities[(here + shift) % self.vocab_size].cumsum(dim=1)
            drawn = torch.rand(len(first), 1, generator=generator, dtype=torch.float64)
            choice = torch.searchsorted(cumulative, drawn)[:, 0].clamp_(max=len(self._offsets) - 1)
            tokens[:, position + 1] = (self._first[here] + choice) % self.vocab_size
        return tokens

    def stationary(self) -> Tensor:
        """The stationary distribution, (vocab_size,), by power iteration until it converges."""
        here, last = torch.arange(self.vocab_size), len(self._offsets) - 1
        before = torch.empty_like(here)
        before[self._first] = here  # the token whose first successor this is
        # A token is reached from tokens whose first successor is itself or one of the tokens just before it.
        reached_from = before[(here[:, None] - last + self._offsets) % self.vocab_size]
        incoming = self.probabilities[reached_from, last - self._offsets]
        weights = torch.full((self.vocab_size,), 1 / self.vocab_size, dtype=torch.float64)
        for _ in range(POWER_ITERATIONS):
            of_first = weights[before]
            ring = torch.cat([of_first[self.vocab_size - last :], of_first])
            after = torch.linalg.vecdot(ring.unfold(0, last + 1, 1), incoming)
            moved = float((after - weights).abs().sum())
            weights = after
            if moved < 1e-10:
                break
        return weights
