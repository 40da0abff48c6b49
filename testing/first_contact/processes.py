"""Fresh processes for code that uses the device: a context, a hang or a crash ends with its process.

Processes are forked by the same forkserver as trials; it has torch loaded and has not used a device.
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

#: Characters kept of what a process wrote.
LOG_CHARACTERS = 4000

#: Timeout after SIGKILL.
DYING_SECONDS = 5.0

Item = TypeVar("Item")


class OutOfTime(Exception):
    """A stage's time was up before its end."""


class ProcessDied(Exception):
    """A process failed; the message has its output."""


@dataclass(frozen=True)
class Observer:
    """Context of code that observes the device in a process."""

    stage: str
    device_name: str
    scale: Scale
    record: Record
    deadline: Deadline

    @property
    def device(self) -> torch.device:
        """The device as a torch device."""
        return torch.device(self.device_name)

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def write(self, line: Line) -> None:
        """Write a line into the record."""
        self.record.write(line)

    def in_time(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items until the time is up; record the ones left out."""
        items = list(items)
        for place, item in enumerate(items):
            if not self.deadline.seconds_left():
                self.write(LeftOut(stage=self.stage, names=[str(one) for one in items[place:]]))
                return
            yield item


Observe = Callable[[Observer], None]


async def run_in_fresh_process(observe: Observe, observer: Observer) -> str:
    """Return what the process wrote besides the record. Raises ProcessDied, and OutOfTime after killing the process.

    `observe` is pickled by name: it must be a function of a module. Cancelling the call kills the process first.
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
        output = logs.read().decode("utf-8", "replace")[-LOG_CHARACTERS:]
    if time_given.cancelled_caught:
        raise OutOfTime(f"it was stopped when its time was up. {output}")
    if process.exitcode:
        raise ProcessDied(f"{_death(process.exitcode)}\n{output}")
    return output


def _death(exit_code: int) -> str:
    return f"killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"


def _end(process: "ForkServerProcess") -> None:
    """Kill the process and its group."""
    if process.pid is None:  # it was never started
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.is_alive():  # killed before it had made its own group
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
    except Exception:  # the record must have any exception
        traceback.print_exc()
        raise SystemExit(1) from None


def _die_with_the_parent() -> None:
    """Die with the parent: a forkserver's child learns of its parent's death only from a pipe."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch the parent", daemon=True).start()
