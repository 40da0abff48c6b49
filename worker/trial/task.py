"""Runs the task of a trial process."""

from collections.abc import Callable

from worker.device.health import check_device
from worker.messages import (
    DeviceCheck,
    DeviceChecked,
    DeviceSupport,
    Inspected,
    Inspection,
    KeepTrace,
    SupportCheck,
    SupportMeasured,
    Task,
    TrialSucceeded,
)
from worker.proof.precision_support import measure_support
from worker.training.turns import TurnTaker
from worker.trial.inspection import inspect_model
from worker.trial.run import run_trial


def run_task(
    task: Task, after_step: Callable[[int], None], taker: TurnTaker, keep_trace: KeepTrace
) -> TrialSucceeded | Inspected | DeviceChecked | SupportMeasured:
    """Returns the outcome of a task; a trial of legs that take turns asks `taker` for its turns.

    An explained trial gives its packed trace to `keep_trace`. Raises TrialFailed when its device, model, data or
    settings are at fault.
    """
    match task:
        case Inspection():
            return Inspected(facts=inspect_model(task))
        case DeviceCheck():
            return DeviceChecked(health=check_device(task))
        case SupportCheck():
            return SupportMeasured(support=DeviceSupport(precisions=measure_support(task.device)))
        case _:
            taker_of_turns = None if task.turns_began is None else taker
            return TrialSucceeded(result=run_trial(task, after_step, taker_of_turns, keep_trace))
