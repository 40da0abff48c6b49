"""`python -m worker.agent.tracking`: reads a task from standard input, writes the outcome to standard output."""

import importlib
import os
import signal
import sys
import traceback

from worker.agent.tracking.messages import LIMIT_SECONDS, Logged, NotLogged, TrackingTask
from worker.agent.tracking.record import record_of

SINKS = {"wandb": "worker.agent.tracking.to_wandb", "mlflow": "worker.agent.tracking.to_mlflow"}


def main() -> None:
    """Runs one task. Output of libraries goes to standard error; an alarm ends the process after LIMIT_SECONDS."""
    signal.alarm(LIMIT_SECONDS)
    output_descriptor = os.dup(1)
    os.dup2(2, 1)
    task = TrackingTask.model_validate_json(sys.stdin.buffer.read())
    with os.fdopen(output_descriptor, "w") as output:
        output.write(attempt(task).model_dump_json())


def attempt(task: TrackingTask) -> Logged | NotLogged:
    """Logs the report; turns any exception of a library into NotLogged."""
    try:
        sink = importlib.import_module(SINKS[task.tracker])
    except ImportError as error:
        remedy = f"pip install 'halftime[{task.tracker}]'"
        return NotLogged(reason=f"{task.tracker} is not installed on the worker ({error}). Install it: {remedy}")
    try:
        outcome: Logged = sink.log(task.tracking, record_of(task.report, task.labels), task.report.model_dump_json())
    except Exception as error:  # a library may raise anything
        traceback.print_exc()
        return NotLogged(reason=f"{type(error).__name__}: {error}")
    return outcome


if __name__ == "__main__":
    main()
