"""Where FP16's gradients first overflowed: found by training up to the first skipped step once more.

The loop itself does not look: asking every gradient in every step would slow the one leg that is asked.
"""

from worker.data import Batches
from worker.training import Run, add_gradients, training_step

#: A first overflow later than this is not searched for.
LATEST_STEP = 32


def first_overflow(run: Run, batches: Batches, skipped_step: int) -> list[str] | None:
    """Parameters whose gradients are not finite in a step, in the order of the backward pass.

    `run` starts from the initial weights. None where the step comes too late, or does not overflow again, as may be
    on a device that is not deterministic.
    """
    if skipped_step > LATEST_STEP:
        return None
    for step in range(skipped_step):
        training_step(run, batches[step % len(batches)])
    run.optimizer.zero_grad(set_to_none=True)
    add_gradients(run, batches[skipped_step % len(batches)])  # no clipping: a norm that is NaN makes every gradient so
    overflowed = [
        name
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    return overflowed[::-1] or None
