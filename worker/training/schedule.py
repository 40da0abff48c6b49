"""Learning rate schedules: linear warm-up, then constant, cosine or linear."""

import math

import torch
from torch import Tensor

from halftime.contract.request.training import TrainingConfig
from worker.training.pace import EXAMINATION_STEPS, EXPLANATION_STEPS


class LearningRate:
    """The schedule, which advances only on steps that changed the weights, without synchronising with the device.

    A table on the device has the rate of every step; a counter there, increased by 1 - found_inf, selects the row.
    """

    def __init__(self, settings: TrainingConfig, device: torch.device) -> None:
        #: Rates by number of applied steps, including those of examinations and the rate after the last.
        steps = settings.steps + EXAMINATION_STEPS + EXPLANATION_STEPS
        self.rates = [settings.learning_rate * share_of_peak(settings, step) for step in range(steps + 1)]
        self.table = torch.tensor(self.rates, device=device)
        self.applied_steps = torch.zeros(1, dtype=torch.int64, device=device)
        #: The current rate, which fused optimizers read.
        self.value = self.table[0].clone()

    def advance(self, found_inf: Tensor) -> None:
        """Advances by one step, unless the scaler skipped it."""
        self.applied_steps += (1 - found_inf).to(torch.int64)
        self.value.copy_(self.table.index_select(0, self.applied_steps)[0])


def share_of_peak(settings: TrainingConfig, step: int) -> float:
    """Factor of the learning rate at a step, counted from 0.

    Warm-up rises linearly and reaches the peak in the first step after it (Goyal et al. 2017, "Accurate, Large
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
