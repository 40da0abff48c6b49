"""The trial process: runs one task, sends its outcome over a pipe, and ends when its worker does."""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.strict import ACCEPTED
from worker.device.lock import DeviceLock
from worker.errors import TrialFailed
from worker.messages import TASK, Message, StepDone, TaskFailed, Turn, Waiting

#: Interval of progress messages.
PROGRESS_SECONDS = 0.5


def main(
    task_json: str, results: Connection, turns: Connection, standard_error: Connection, lock: DeviceLock | None
) -> None:
    """Runs a task: sends the outcome over `results`, and all output to `standard_error`; receives turns from `turns`.

    The process holds the device lock, inherited through `lock`, until it ends.
    """
    os.setpgid(0, 0)  # so that cancelling ends its children too, but not the worker
    os.dup2(standard_error.fileno(), 1)
    os.dup2(standard_error.fileno(), 2)
    faulthandler.enable()
    _end_with_worker()
    _prefer_for_oom_kill()
    last_sent = time.monotonic()

    def send(message: Message) -> None:
        results.send_bytes(message.model_dump_json().encode())

    def after_step(step: int) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent >= PROGRESS_SECONDS:
            last_sent = time.monotonic()
            send(StepDone(step=step))

    outcome: Message
    try:
        from worker.trial.task import run_task  # noqa: PLC0415 # loads torch, which the worker itself does not

        task = TASK.validate_json(task_json, context=ACCEPTED)
        outcome = run_task(task, after_step, _AskingTheWorker(results, turns), send)
    except TrialFailed as error:
        traceback.print_exc()
        outcome = TaskFailed(failure=error.failure)
    except Exception as error:  # any error must reach the worker
        traceback.print_exc()
        detail = f"{type(error).__name__}: {error}"[:1000] + " Check the benchmark's logs for the traceback."
        outcome = TaskFailed(failure=Failure.of(FailureCode.INTERNAL, detail))
    sys.stderr.flush()
    send(outcome)


class _AskingTheWorker:
    """Takes turns as the worker, which sees all legs of the block, gives them."""

    def __init__(self, results: Connection, turns: Connection) -> None:
        self._results, self._turns = results, turns

    def next_turn(self, steps_done: int) -> Turn:
        """Tells the worker that this process waits, and sleeps until it replies."""
        self._results.send_bytes(Waiting(step=steps_done).model_dump_json().encode())
        return Turn.model_validate_json(self._turns.recv_bytes())


def _end_with_worker() -> None:
    """Kills this process group when the worker ends.

    A forkserver's child has the forkserver as parent, so the kernel's parent-death signal does not work; the sentinel
    is a pipe whose other end the worker holds.
    """
    worker = multiprocessing.parent_process()
    if worker is None:
        return

    def watch() -> None:
        wait([worker.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch the worker", daemon=True).start()


def _prefer_for_oom_kill() -> None:
    """Makes the kernel's OOM killer choose this process before the database and the worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
