"""Synthetic token classification: a token's class follows from itself or from the token before it; labels are noisy."""

import torch
from torch import Tensor

from halftime.plugin import Part
from worker.data.synthetic.label_noise import LabelNoise
from worker.data.synthetic.markov import MarkovChain


class LabelledTokensSource:
    """Samples are sequences of a Markov chain, whose first token is uniform.

    Every token of the vocabulary has a class. Half of the tokens are labelled with their own, the others with that of
    the token before them (the first token always with its own), so that a model must read both. One label in ten is
    random.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, vocab_size: int, length: int, num_classes: int, generator: torch.Generator) -> None:
        self.length = length
        self.sample_bytes = 2 * 8 * length
        self.chain = MarkovChain(vocab_size, generator)
        self.classes = torch.randint(num_classes, (vocab_size,), generator=generator)
        self.looks_back = torch.rand(vocab_size, generator=generator) < 0.5
        self.noise = LabelNoise(num_classes)
        self.best_possible_loss = self.noise.best_possible_loss
        self.best_possible_accuracy = self.noise.best_possible_accuracy

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `input_ids` and `labels`, both (count, length), int64."""
        first = torch.randint(self.chain.vocab_size, (count,), generator=generator)
        tokens = self.chain.walk(first, self.length - 1, generator)
        return {"input_ids": tokens, "labels": self.noise.apply(self.rule(tokens), generator)}

    def rule(self, tokens: Tensor) -> Tensor:
        """(count, length) tokens → their classes before noise."""
        before = torch.cat([tokens[:, :1], tokens[:, :-1]], dim=1)
        return self.classes[torch.where(self.looks_back[tokens], before, tokens)]
