"""Runs the task of a trial process."""

from collections.abc import Callable

from worker.device.health import check_device
from worker.explain.ceilings import ceilings_or_reason
from worker.messages import (
    DeviceCheck,
    DeviceChecked,
    DeviceSupport,
    Inspected,
    Inspection,
    SupportCheck,
    SupportMeasured,
    Task,
    TraceKept,
    TrialSucceeded,
)
from worker.proof.precision_support import measure_support
from worker.training.turns import TurnTaker
from worker.trial.inspection import inspect_model
from worker.trial.run import run_trial

#: Why there are no ceilings while they are being measured.
UNFINISHED = "their measurement crashed, or did not end in time"


def run_task(
    task: Task,
    after_step: Callable[[int], None],
    taker: TurnTaker,
    send: Callable[[SupportMeasured | TraceKept], None],
) -> TrialSucceeded | Inspected | DeviceChecked | SupportMeasured:
    """Returns the outcome of a task; a trial of legs that take turns asks `taker` for its turns.

    `send` tells the worker a part of the outcome, which counts if the rest never comes, or the packed trace of an
    explained trial. Raises TrialFailed when its device, model, data or settings are at fault.
    """
    match task:
        case Inspection():
            return Inspected(facts=inspect_model(task))
        case DeviceCheck():
            return DeviceChecked(health=check_device(task))
        case SupportCheck():
            return _measure_device(task.device, send)
        case _:
            taker_of_turns = None if task.turns_began is None else taker
            return TrialSucceeded(
                result=run_trial(task, after_step, taker_of_turns, lambda trace: send(TraceKept(trace=trace)))
            )


def _measure_device(device: str, send: Callable[[SupportMeasured], None]) -> SupportMeasured:
    """Measures the precisions and then the ceilings, without which the device can be used as well."""
    precisions = measure_support(device)
    send(SupportMeasured(support=DeviceSupport(precisions=precisions, ceilings_missing=UNFINISHED)))
    ceilings, reason = ceilings_or_reason(device)
    return SupportMeasured(support=DeviceSupport(precisions=precisions, ceilings=ceilings, ceilings_missing=reason))
