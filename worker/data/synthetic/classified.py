"""Synthetic sequence classification: each class has its own Markov chain; labels are noisy."""

import torch
from torch import Tensor

from halftime.plugin import ClassifiedTokens, Part
from worker.data.synthetic.label_noise import LABEL_NOISE, LabelNoise
from worker.data.synthetic.markov import MarkovChain

#: Most sequences that the best possible loss and accuracy are estimated on...
ESTIMATE_SAMPLES = 8192
#: ...and most probabilities looked up for it, one per sequence, class and token.
ESTIMATE_LOOKUPS = 2**21
#: Fewest sequences, whatever the number of classes.
MIN_SAMPLES = 16


class ClassifiedSource:
    """Every sequence starts at a random token and follows the chain of its class; one label in ten is random.

    The chains share their successors; class c draws one after token t with the probabilities of token t + shift(c).
    The best model predicts the class by Bayes' rule from the likelihood of the sequence under every chain: its loss
    is the mean entropy of the posterior, its accuracy the mean maximum, both estimated on up to 8,192 sequences.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, shape: ClassifiedTokens, generator: torch.Generator) -> None:
        self.chain = MarkovChain(shape.vocab_size, generator)
        self._shape = shape
        self.sample_bytes = 8 * shape.length + 8
        shifts = torch.randperm(shape.vocab_size, generator=generator)
        #: (classes,); repeated if there are more classes than tokens, some of which are then indistinguishable
        self.shifts = shifts[torch.arange(shape.num_classes) % shape.vocab_size]
        lookups = shape.num_classes * shape.length
        samples = max(MIN_SAMPLES, min(ESTIMATE_SAMPLES, ESTIMATE_LOOKUPS // lookups))
        posterior = self.posterior(self._draw(samples, generator)[0])
        self.best_possible_loss = float(torch.special.entr(posterior).sum(dim=1).mean())
        self.best_possible_accuracy = float(posterior.max(dim=1).values.mean())

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs (count, length) and targets (count,), both int64."""
        tokens, classes = self._draw(count, generator)
        return tokens, LabelNoise(self._shape.num_classes).apply(classes, generator)

    def posterior(self, tokens: Tensor) -> Tensor:
        """(count, length) → (count, classes): the probability of every label given the sequence."""
        before, after = tokens[:, :-1], tokens[:, 1:]
        place = self.chain.place(before, after)
        likelihoods = [
            self.chain.probabilities[(before + shift) % self._shape.vocab_size, place].log().sum(dim=1)
            for shift in self.shifts
        ]
        of_chain = torch.stack(likelihoods, dim=1).softmax(dim=1)
        return (1 - LABEL_NOISE) * of_chain + LABEL_NOISE / self._shape.num_classes

    def _draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        classes = torch.randint(self._shape.num_classes, (count,), generator=generator)
        first = torch.randint(self._shape.vocab_size, (count,), generator=generator)
        return self.chain.walk(first, self._shape.length - 1, generator, self.shifts[classes]), classes
