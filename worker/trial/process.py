"""The trial process: says what came of its trial over a pipe, dies with its worker, and lives for nothing else."""

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
from worker.device.health import check_device
from worker.device.lock import DeviceLock
from worker.errors import TrialFailed
from worker.messages import (
    TASK,
    DeviceCheck,
    DeviceChecked,
    DeviceSupport,
    Inspected,
    Inspection,
    StepDone,
    SupportCheck,
    SupportMeasured,
    TrialGaveUp,
    TrialSucceeded,
)
from worker.proof.precision_support import measure_support
from worker.trial.inspection import inspect_model
from worker.trial.run import run_trial

#: Seconds between two words about progress.
PROGRESS_SECONDS = 0.5


def main(task_json: str, results: Connection, standard_error: Connection, lock: DeviceLock | None) -> None:
    """The whole life of the process: says its result over `results`, writes what else it has to say to the worker.

    It holds the lock, which came with it, as long as it lives.
    """
    os.setpgid(0, 0)  # so that cancelling reaches its own children, and never the worker
    os.dup2(standard_error.fileno(), 1)
    os.dup2(standard_error.fileno(), 2)
    faulthandler.enable()
    _die_with_the_worker()
    _volunteer_for_the_oom_killer()
    last_said = time.monotonic()

    def after_step(step: int) -> None:
        nonlocal last_said
        if time.monotonic() - last_said >= PROGRESS_SECONDS:
            last_said = time.monotonic()
            results.send_bytes(StepDone(step=step).model_dump_json().encode())

    last_word: TrialSucceeded | Inspected | DeviceChecked | SupportMeasured | TrialGaveUp
    try:
        task = TASK.validate_json(task_json)
        if isinstance(task, Inspection):
            last_word = Inspected(facts=inspect_model(task))
        elif isinstance(task, DeviceCheck):
            last_word = DeviceChecked(health=check_device(task))
        elif isinstance(task, SupportCheck):
            last_word = SupportMeasured(support=DeviceSupport(precisions=measure_support(task.device)))
        else:
            last_word = TrialSucceeded(result=run_trial(task, after_step))
    except TrialFailed as error:
        traceback.print_exc()
        last_word = TrialGaveUp(failure=error.failure)
    except Exception as error:  # whatever went wrong, the worker must hear of it
        traceback.print_exc()
        detail = f"{type(error).__name__}: {error}"[:1000] + " The benchmark's logs have the traceback."
        last_word = TrialGaveUp(failure=Failure.of(FailureCode.INTERNAL, detail))
    sys.stderr.flush()
    results.send_bytes(last_word.model_dump_json().encode())


def _die_with_the_worker() -> None:
    """Kills this process group when the worker is gone.

    The child of a forkserver has the forkserver for a parent, so the kernel's parent-death signal would not come;
    the sentinel is a pipe whose other end is the worker's.
    """
    worker = multiprocessing.parent_process()
    if worker is None:
        return

    def watch() -> None:
        wait([worker.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch the worker", daemon=True).start()


def _volunteer_for_the_oom_killer() -> None:
    """If the machine runs out of memory, this process goes first: not the database, not the worker."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
