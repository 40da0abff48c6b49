"""What a model reaches that ignores its inputs: learning begins beyond that."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from halftime.plugin import IGNORED


@dataclass(frozen=True)
class Chance:
    """The best constant prediction for some targets."""

    #: In nats.
    loss: float
    accuracy: float


def chance_of(targets: Iterable[Tensor], num_classes: int) -> Chance:
    """Returns the best constant prediction for targets of any shape, int64, `IGNORED` ones left out.

    Accuracy: the share of the most frequent class (the no-information rate; Kuhn & Johnson 2013, "Applied Predictive
    Modeling", section 11.2). Loss: each target is predicted from the frequencies of the others by Laplace's rule of
    succession, (their count + 1) / (their number + classes), so that a class that occurs once is not foreseen; at most
    that of a uniform prediction, ln(classes).
    """
    flat = torch.cat([part.flatten() for part in targets])
    counts = torch.bincount(flat[flat != IGNORED]).double()
    predictions = int(counts.sum())
    counts = counts[counts > 0]
    others = predictions - 1 + num_classes
    loss = -float((counts / predictions * (counts / others).log()).sum())
    return Chance(min(loss, math.log(num_classes)), float(counts.max()) / predictions)
