"""Creates optimizers of torch.optim, in the same way for every leg."""

import torch
from torch import nn

from halftime.contract.request.training import TrainingConfig
from worker.training.schedule import LearningRate


def make_optimizer(
    parameters: list[nn.Parameter], settings: TrainingConfig, schedule: LearningRate
) -> torch.optim.Optimizer:
    """Creates the optimizer, fused by default: only then does `GradScaler.step` not wait for the device."""
    if settings.implementation == "fused":
        return _fused(parameters, settings, schedule)
    return _foreach(parameters, settings, schedule)


def _fused(parameters: list[nn.Parameter], settings: TrainingConfig, schedule: LearningRate) -> torch.optim.Optimizer:
    """Creates a fused optimizer, which reads the learning rate from the schedule's tensor on the device."""
    rate, decay = schedule.value, settings.weight_decay
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, rate, settings.momentum, weight_decay=decay, fused=True)
        # By default, fused SGD allocates momentum uninitialised and writes it in the first step: if the scaler skips
        # that step, the second one would use uninitialised memory.
        for parameter in parameters if settings.momentum else []:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, rate, _betas(settings), settings.epsilon, decay, fused=True)


def _foreach(parameters: list[nn.Parameter], settings: TrainingConfig, schedule: LearningRate) -> torch.optim.Optimizer:
    """Creates an optimizer that reads the learning rate on the host.

    The scaler calls its `step` only for steps that it does not skip, so counting calls counts applied steps.
    """
    rate, decay = schedule.rates[0], settings.weight_decay
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "sgd":
        optimizer = torch.optim.SGD(parameters, rate, settings.momentum, weight_decay=decay, foreach=True)
    elif settings.optimizer == "adafactor":
        optimizer = torch.optim.Adafactor(parameters, rate, weight_decay=decay, foreach=True)
    else:
        kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(parameters, rate, _betas(settings), settings.epsilon, decay, foreach=True)
    rates = iter(schedule.rates)

    def set_rate(stepping: torch.optim.Optimizer, *_: object) -> None:
        (group,) = stepping.param_groups
        group["lr"] = next(rates)

    optimizer.register_step_pre_hook(set_rate)
    return optimizer


def _betas(settings: TrainingConfig) -> tuple[float, float]:
    first, second = settings.betas
    return first, second
