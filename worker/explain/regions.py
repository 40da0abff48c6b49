"""Tells which part of a training step runs, where the names of operators do not: an optimizer adds and multiplies."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from worker.training.loop import Run

#: Parts of a step whose operators count as this kind, whatever they are.
Region = Literal["optimizer", "gradient_scaling_and_clipping"]


@contextmanager
def regions_of(run: Run, on_change: Callable[[Region], None]) -> Iterator[None]:
    """Calls the function when a region of the step that is run meanwhile begins.

    The gradients are complete when `scaler.unscale_` is called; what follows scales and clips them, but for the step of
    the optimizer.
    """
    scaler, unscale = run.scaler, run.scaler.unscale_

    def unscale_(optimizer: torch.optim.Optimizer) -> None:
        on_change("gradient_scaling_and_clipping")
        unscale(optimizer)

    hooks = [
        run.optimizer.register_step_pre_hook(lambda *_: on_change("optimizer")),
        run.optimizer.register_step_post_hook(lambda *_: on_change("gradient_scaling_and_clipping")),
    ]
    scaler.unscale_ = unscale_  # type: ignore[method-assign] # of this instance alone
    try:
        yield
    finally:
        del scaler.unscale_
        for hook in hooks:
            hook.remove()
