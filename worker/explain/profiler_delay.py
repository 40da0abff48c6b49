"""How long torch's profiler delays an operation of the host that it records."""

import torch
from torch.profiler import ProfilerActivity, profile

from worker.proof.timing import fastest_seconds

#: Operations that are timed together, and how often: the fastest time counts, which other programs hardly touch.
OPERATIONS, REPEATS = 100, 20


def operation_delay_seconds() -> float:
    """The least time of an operation on a single number under the profiler, less that without it.

    A step under the profiler beside one without it would not do: where the machine's speed changes by a few percent
    from step to step, that is more than the profiler's delay of all operations of a step.
    """
    before_seconds = _seconds()
    with profile(activities=[ProfilerActivity.CPU]):
        recorded_seconds = _seconds()
    return max(0.0, recorded_seconds - min(before_seconds, _seconds())) / OPERATIONS


def _seconds() -> float:
    operate = torch.ones(1).neg_

    def repeat() -> None:
        for _ in range(OPERATIONS):
            operate()

    return fastest_seconds(repeat, torch.device("cpu"), REPEATS)
