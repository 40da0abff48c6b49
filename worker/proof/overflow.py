"""Where FP16 first overflowed: found by training up to the first skipped step once more.

The loop itself does not look: asking every gradient in every step would slow the one leg that is asked.
"""

import functools
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from worker.data import Batches
from worker.training.loop import Run, add_gradients, training_step

#: A first overflow later than this is not searched for.
LATEST_STEP = 32

#: Modules named at most.
MOST_NAMES = 10


class OverflowWatch:
    """Notes the modules without children whose output, or whose output's gradient, is not finite, in the order they
    are passed: all of the forward pass, then the backward pass from the loss on."""

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


def first_overflow(run: Run, batches: Batches, skipped_step: int) -> list[str] | None:
    """Modules where numbers stopped being finite in a step, where it began first.

    Where every activation and its gradient is finite, the parameters whose own gradients are not. `run` starts from
    the initial weights. None where the step comes too late, or does not overflow again, as may be on a device that
    is not deterministic, or of a model with dropout.
    """
    if skipped_step > LATEST_STEP:
        return None
    for step in range(skipped_step):
        training_step(run, batches[step % len(batches)])
    run.optimizer.zero_grad(set_to_none=True)
    with OverflowWatch(run.model) as watch:  # before clipping: a norm that is NaN makes every gradient so
        add_gradients(run, batches[skipped_step % len(batches)])
    overflowed = [
        name
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    return (watch.seen or overflowed)[:MOST_NAMES] or None
