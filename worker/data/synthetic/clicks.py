"""Synthetic clicks: numeric features and popular and rare categories, with a logistic model as the teacher."""

import math

import torch
from torch import Tensor

from halftime.contract.models import DlrmSpec
from halftime.plugin import Part

#: Logit of a sample whose features and categories have no effect: clicks are rarer than their absence.
BIAS = -1.2

#: Standard deviation of what the numeric features, and what the categories, add to the logit.
EFFECT = 1.5

#: Most categories of a feature that have an effect of their own; beyond, they share them.
MAX_EFFECTS = 65_536

#: Samples that the figures of the best model are estimated on...
ESTIMATE_SAMPLES = 16_384
#: ...fewer if they have more categories than this.
ESTIMATE_CATEGORIES = 2**22


class ClickSource:
    """A click is drawn from the logistic model: the sum of an effect of every numeric feature and of every category.

    Numeric features are Gaussian. Of n categories, number k has the probability log((k + 2) / (k + 1)) / log(n + 1),
    close to Zipf's law. The best model predicts the teacher's own probabilities: its loss is their mean entropy, its
    accuracy the mean of the larger of p and 1 - p. A model that has learned nothing predicts the mean probability. All
    are estimated on up to 16,384 samples.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, spec: DlrmSpec, generator: torch.Generator) -> None:
        self._spec = spec
        self.sample_bytes = 4 * spec.dense_features + 8 * spec.num_tables * spec.bag_size + 4
        self.of_features = EFFECT * torch.randn(spec.dense_features, generator=generator) / spec.dense_features**0.5
        #: (tables, effects)
        self.of_categories = torch.randn(spec.num_tables, min(spec.rows_per_table, MAX_EFFECTS), generator=generator)
        self.of_categories *= EFFECT / (spec.num_tables * spec.bag_size) ** 0.5
        samples = max(1, min(ESTIMATE_SAMPLES, ESTIMATE_CATEGORIES // (spec.num_tables * spec.bag_size)))
        clicked = self.probabilities(*self._features(samples, generator)).double()
        self.best_possible_loss = float(_entropy(clicked).mean())
        self.best_possible_accuracy = float(clicked.maximum(1 - clicked).mean())
        mean = clicked.mean()
        self.chance = {"loss": float(_entropy(mean)), "accuracy": float(mean.maximum(1 - mean))}

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws a batch of `worker/tasks/click_prediction.py`."""
        dense, categories = self._features(count, generator)
        clicked = torch.bernoulli(self.probabilities(dense, categories), generator=generator)
        return {"dense": dense, "categories": categories, "clicked": clicked}

    def probabilities(self, dense: Tensor, categories: Tensor) -> Tensor:
        """(count, features) and (count, tables, bag) → (count,): the probability of a click."""
        tables = torch.arange(self._spec.num_tables)[:, None]
        of_categories = self.of_categories[tables, categories % self.of_categories.shape[1]]
        logits: Tensor = BIAS + dense @ self.of_features + of_categories.sum(dim=(1, 2))
        return logits.sigmoid()

    def _features(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        spec = self._spec
        dense = torch.randn(count, spec.dense_features, generator=generator)
        # The inverse of the categories' cumulative distribution, log(k + 2) / log(n + 1).
        drawn = torch.rand(count, spec.num_tables, spec.bag_size, generator=generator, dtype=torch.float64)
        categories = (drawn * math.log(spec.rows_per_table + 1)).exp().long() - 1
        return dense, categories.clamp_(max=spec.rows_per_table - 1)


def _entropy(probability: Tensor) -> Tensor:
    """Entropy in nats of a click with this probability, elementwise."""
    entropy: Tensor = torch.special.entr(probability) + torch.special.entr(1 - probability)
    return entropy
