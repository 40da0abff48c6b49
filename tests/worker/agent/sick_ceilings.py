"""Trial processes that measure a device whose ceilings cannot be measured; its precisions are known at once."""

import os
import time

from tests.app.acts import support
from worker.trial.process import main


def crashing_ceilings(task_json, *pipes):
    """The trial process, in place of the real one."""
    measure(task_json, pipes, os.abort)


def endless_ceilings(task_json, *pipes):
    """The trial process, in place of the real one."""
    measure(task_json, pipes, lambda: time.sleep(3600))


def measure(task_json, pipes, ceilings):
    from worker.trial import task

    task.measure_support = lambda device: [support("fp32", 1e9)]
    task.ceilings_or_reason = lambda device: ceilings()
    main(task_json, *pipes)
