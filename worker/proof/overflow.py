"""Finds where FP16 first overflowed, by repeating training up to the first skipped step.

The loop itself does not check: checking every gradient in every step would slow down this leg only.
"""

import functools
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from worker.data import Batch, Batches
from worker.data.batches import tensors_of
from worker.training.loop import Run, add_gradients, training_step

#: Latest step up to which training is repeated.
LATEST_STEP = 32

#: Most modules that are reported.
MAX_NAMES = 10


class OverflowWatch:
    """Records leaf modules whose output or output gradient is not finite, in order of execution: those of the forward
    pass first, then those of the backward pass."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self.seen: list[str] = []

    def __enter__(self) -> "OverflowWatch":
        for name, module in self._model.named_modules():
            if next(module.children(), None) is None:
                self._watch(name, module)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str, module: nn.Module) -> None:
        def after_forward(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor):
                self._note(name, output)
                if output.requires_grad:
                    note_gradient = functools.partial(self._note, name)
                    output.register_hook(note_gradient)  # type: ignore[no-untyped-call] # torch's own

        self._handles.append(module.register_forward_hook(after_forward))

    def _note(self, name: str, values: Tensor) -> None:
        if not bool(torch.isfinite(values).all()) and name not in self.seen:
            self.seen.append(name)


def largest_input(batch: Batch) -> float | None:
    """Returns the largest magnitude among a batch's floats; None for token ids."""
    floats = [values for values in tensors_of(batch) if values.is_floating_point()]
    return max((float(values.abs().max()) for values in floats), default=None)


def first_overflow(run: Run, batches: Batches, skipped_step: int) -> list[str] | None:
    """Returns the modules with non-finite values in the skipped step, the first in order of execution first.

    If every activation and its gradient is finite, returns the parameters whose gradients are not. `run` starts from
    the initial weights. None if the step is later than LATEST_STEP, or does not overflow again, which can happen on a
    non-deterministic device or with dropout.
    """
    if skipped_step > LATEST_STEP:
        return None
    for step in range(skipped_step):
        training_step(run, batches[step % len(batches)])
    run.optimizer.zero_grad(set_to_none=True)
    with OverflowWatch(run.model) as watch:  # before clipping: a NaN norm makes every gradient NaN
        add_gradients(run, batches[skipped_step % len(batches)])
    overflowed = [
        name
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    return (watch.seen or overflowed)[:MAX_NAMES] or None
