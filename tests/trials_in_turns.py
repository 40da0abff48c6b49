"""Results of trials in turns that never ran."""

from itertools import accumulate

from halftime.contract.report.slices import Slice
from tests.factories import request, trial
from worker.messages import TrialSpec

#: Steps of warm-up, which precede the first slice.
WARMUP_STEPS = 2


def spec(precision="fp32", block=0):
    """What the trial of a leg was to do."""
    asked = request()
    return TrialSpec(
        device="cpu",
        precision=precision,
        block=block,
        position=0,
        model=asked.model,
        training=asked.config.training,
    )


def trial_in_turns(step_seconds, disturbed=(), precision="fp32", block=0):
    """A trial from its step times by slice, the first of each picking up; `disturbed` has the rounds that were."""
    firsts = accumulate(map(len, step_seconds), initial=WARMUP_STEPS)
    slices = [
        one_slice(first, seconds, ["the machine was busy"] if index in disturbed else [])
        for index, (first, seconds) in enumerate(zip(firsts, step_seconds, strict=False))
    ]
    steps = [seconds for of_slice in step_seconds for seconds in of_slice]
    return trial(spec(precision, block)).model_copy(update={"step_seconds": steps, "slices": slices})


def one_slice(first_step, step_seconds, disturbances):
    """A slice that began when the block did."""
    return Slice(
        first_step=first_step,
        steps=len(step_seconds),
        pick_up_steps=1,
        began_seconds=0,
        ended_seconds=sum(step_seconds),
        waited_seconds=0,
        waiting_cpu_seconds=0,
        own_cpu_seconds=0,
        foreign_cpu_seconds=0,
        disturbances=disturbances,
    )
