"""The learning rate of every step: linear warm-up, then constant, cosine or linear."""

import math

import torch
from torch import Tensor

from halftime.contract.request.training import TrainingConfig

#: Steps that may follow the last to be looked at closely: no figure of training or time is of them.
EXAMINED_STEPS = 4


class LearningRate:
    """The schedule. It advances only on steps that changed the weights, without asking the device whether one did.

    The rate of every step stands in a table on the device; a counter there, raised by 1 - found_inf, picks the row.
    """

    def __init__(self, settings: TrainingConfig, device: torch.device) -> None:
        #: By applied steps. One row more than steps: the rate after the last.
        self.rates = [
            settings.learning_rate * share_of_peak(settings, step)
            for step in range(settings.steps + EXAMINED_STEPS + 1)
        ]
        self._table = torch.tensor(self.rates, device=device)
        self.applied_steps = torch.zeros(1, dtype=torch.int64, device=device)
        #: What a fused optimizer reads.
        self.value = self._table[0].clone()

    def advance(self, found_inf: Tensor) -> None:
        """Moves on by one step, unless the scaler skipped it."""
        self.applied_steps += (1 - found_inf).to(torch.int64)
        self.value.copy_(self._table.index_select(0, self.applied_steps)[0])


def share_of_peak(settings: TrainingConfig, step: int) -> float:
    """Of the learning rate, at a step counted from 0.

    Warm-up rises by equal parts and reaches the peak in the first step after it (Goyal et al. 2017, "Accurate, Large
    Minibatch SGD", section 2.2). Cosine (Loshchilov & Hutter 2017, "SGDR", eq. 5) and linear fall from there to
    `final_learning_rate_ratio` after the last step.
    """
    warmup = settings.schedule_warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return 1.0
    done = min((step - warmup) / (settings.steps - warmup), 1)
    share = 0.5 * (1 + math.cos(math.pi * done)) if settings.schedule == "cosine" else 1 - done
    return settings.final_learning_rate_ratio + (1 - settings.final_learning_rate_ratio) * share
