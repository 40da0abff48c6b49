"""Masked language modelling with a known optimum: masked tokens of a Markov chain, each between two visible ones."""

import torch
from torch import Tensor

from halftime.plugin import IGNORED, MaskedTokens, Part
from worker.data.layout import predictions_per_sample
from worker.data.synthetic.language import LanguageSource

#: Masked tokens that the best possible loss and accuracy are estimated on.
ESTIMATE_SAMPLES = 65_536


class MaskedSource:
    """About one token in seven is replaced by the mask token, but not the first, the last, or two adjacent ones.

    Given its two neighbours, a token of a chain depends on no other, so the best model predicts
    p(x | a, b) ∝ p(x | a) p(b | x). Its loss is the mean entropy of that, its accuracy the mean maximum, both
    estimated on 65,536 masked tokens: close to 0 and 1 in a large vocabulary, in which two tokens seldom have more than
    one possible token between them. The mask token is not in the chain.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, shape: MaskedTokens, generator: torch.Generator) -> None:
        assert shape.length >= 3, "a masked token has two neighbours"
        self.language = LanguageSource(shape.vocab_size - 1, shape.length - 1, generator)
        self._shape = shape
        self.masked = min(predictions_per_sample(shape), (shape.length - 1) // 2)
        self.sample_bytes = 2 * 8 * shape.length
        posterior = self._posterior(generator)
        self.best_possible_loss = float(torch.special.entr(posterior).sum(dim=1).mean())
        self.best_possible_accuracy = float(posterior.max(dim=1).values.mean())

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs and targets, both (count, length), int64; targets are `IGNORED` for unmasked tokens."""
        inputs, followers = self.language.sample(part, count, generator)
        tokens = torch.cat([inputs, followers[:, -1:]], dim=1)
        tokens += tokens >= self._shape.mask_token
        places = self._positions(count, generator)
        targets = torch.full_like(tokens, IGNORED).scatter_(1, places, tokens.gather(1, places))
        return tokens.scatter_(1, places, self._shape.mask_token), targets

    def _positions(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws non-adjacent positions, (count, masked): drawn from a sequence without gaps and shifted by the gaps."""
        within = self._shape.length - 2 - (self.masked - 1)
        drawn = torch.rand(count, within, generator=generator).topk(self.masked, dim=1).indices
        return 1 + drawn.sort(dim=1).values + torch.arange(self.masked)

    def _posterior(self, generator: torch.Generator) -> Tensor:
        """(samples, candidates): probability of each successor of the left neighbour, given both neighbours."""
        chain = self.language.chain
        first = torch.multinomial(self.language.stationary, ESTIMATE_SAMPLES, replacement=True, generator=generator)
        left, _, right = chain.walk(first, 2, generator).unbind(dim=1)
        both = chain.probabilities[left] * chain.transition(chain.successors(left), right[:, None])
        return both / both.sum(dim=1, keepdim=True)
