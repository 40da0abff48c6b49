"""A fresh process for whatever touches the device: its context ends with it, and so does a hang or a crash.

Processes come from the forkserver that trials come from, which has torch loaded and has touched no device.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread
import torch

from testing.first_contact.lines import LeftOut, Line
from testing.first_contact.record import Record
from testing.first_contact.scale import Scale
from testing.first_contact.timetable import Deadline

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

#: Kept of what a process wrote.
LOG_CHARACTERS = 4000

#: What a process is waited for after SIGKILL.
DYING_SECONDS = 5.0

Item = TypeVar("Item")


class OutOfTime(Exception):
    """The time of a stage was up before its end."""


class ProcessDied(Exception):
    """A process ended otherwise than well; the message has what it wrote."""


@dataclass(frozen=True)
class Observer:
    """What a process that looks at the device is given."""

    stage: str
    device_name: str
    scale: Scale
    record: Record
    deadline: Deadline

    @property
    def device(self) -> torch.device:
        """As torch names it."""
        return torch.device(self.device_name)

    @property
    def on_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    def write(self, line: Line) -> None:
        """Into the record."""
        self.record.write(line)

    def in_time(self, items: Iterable[Item]) -> Iterator[Item]:
        """Items, until the time is up; the record says which were left out."""
        items = list(items)
        for place, item in enumerate(items):
            if not self.deadline.seconds_left():
                self.write(LeftOut(stage=self.stage, names=[str(one) for one in items[place:]]))
                return
            yield item


Observe = Callable[[Observer], None]


async def run_in_fresh_process(observe: Observe, observer: Observer) -> str:
    """What the process wrote beside the record. Raises ProcessDied, and OutOfTime once it is ended.

    `observe` is looked up by its name there: a function of a module. Cancelling the call ends the process first.
    """
    context = multiprocessing.get_context("forkserver")
    with tempfile.NamedTemporaryFile(prefix="halftime-contact-") as logs:
        process = context.Process(target=_main, args=(observe, observer, logs.name))
        try:
            await anyio.to_thread.run_sync(process.start)
            with anyio.move_on_after(observer.deadline.seconds_left()) as time_given:
                await anyio.wait_readable(process.sentinel)
        finally:
            _end(process)
        said = logs.read().decode("utf-8", "replace")[-LOG_CHARACTERS:]
    if time_given.cancelled_caught:
        raise OutOfTime(f"it was ended when its time was up. {said}")
    if process.exitcode:
        raise ProcessDied(f"{_death(process.exitcode)}\n{said}")
    return said


def _death(exit_code: int) -> str:
    return f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"


def _end(process: "ForkServerProcess") -> None:
    """No process of its group outlives this."""
    if process.pid is None:  # it could not be started
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():  # killed before it had made its group
        process.kill()
    process.join(DYING_SECONDS)


def _main(observe: Observe, observer: Observer, logs: str) -> None:
    os.setpgid(0, 0)
    descriptor = os.open(logs, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    _die_with_the_parent()
    try:
        observe(observer)
    except Exception:  # whatever it was, the record is to have it
        traceback.print_exc()
        raise SystemExit(1) from None


def _die_with_the_parent() -> None:
    """The child of a forkserver is told of its parent's death by a pipe alone."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
