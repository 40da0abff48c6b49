"""Random labels, which keep the best possible loss and accuracy of a deterministic rule known and above zero."""

import math

import torch
from torch import Tensor

#: Share of labels that are drawn at random.
LABEL_NOISE = 0.1


class LabelNoise:
    """Even a model that knows the rule cannot predict the random labels.

    The best possible accuracy is 1 - p + p / classes, and the best possible loss is the entropy of a label given its
    class.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        wrong = LABEL_NOISE / num_classes
        right = 1 - LABEL_NOISE + wrong
        self.best_possible_accuracy = right
        self.best_possible_loss = -right * math.log(right) - (num_classes - 1) * wrong * math.log(wrong)

    def apply(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Replaces some classes by random ones."""
        random_labels = torch.randint(self.num_classes, classes.shape, generator=generator)
        is_random = torch.rand(classes.shape, generator=generator) < LABEL_NOISE
        return torch.where(is_random, random_labels, classes)
