"""`python -m tests.worker.agent.sick_worker run …`: a real worker whose device falls sick when a file says so.

The fault is planted in the trial process, under the check: matrix products come out wrong, crash, or never come; or
under the measurement of what the device can do, which then says so in the same file and does not end, or crashes
after the precisions.
"""

import os
import sys
import time
from pathlib import Path

from worker.trial import process as trial_process

RECHECK_SECONDS = 0.3

real_main = trial_process.main


def planted_main(task_json, *pipes):
    """The trial process, in place of the real one."""
    import torch

    from worker.trial import task

    fault = Path(os.environ["PLANTED_FAULT"]).read_text()
    if fault == "wrong":
        torch.matmul = lambda left, right: torch.zeros(left.shape[0], right.shape[1])
    if fault == "crash":
        torch.matmul = lambda left, right: os.abort()
    if fault == "hang":
        torch.matmul = lambda left, right: time.sleep(3600)
    if fault == "endless measurement":
        task.measure_support = endless_measurement
    if fault == "crash in the ceilings":
        task.ceilings_or_reason = lambda device: os.abort()
    real_main(task_json, *pipes)


def endless_measurement(device):
    """In place of the real one."""
    Path(os.environ["PLANTED_FAULT"]).write_text("measuring")
    time.sleep(3600)


if __name__ == "__main__":
    from tests.worker.agent import sick_worker  # so that the trial process finds it by this name
    from worker.__main__ import cli
    from worker.agent import worker as main

    trial_process.main = sick_worker.planted_main
    main.RECHECK_SECONDS = RECHECK_SECONDS
    cli(sys.argv[1:])
