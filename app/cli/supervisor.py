"""Keeps child processes running: restarts with backoff, ends them together."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0

#: A child that ran this long starts afresh with the shortest backoff.
STABLE_SECONDS = 30.0

#: Between SIGTERM and SIGKILL.
GRACE_SECONDS = 15.0

#: The same after a second signal.
HURRIED_GRACE_SECONDS = 1.0

#: After SIGKILL: one that hangs in a driver may not die.
DYING_SECONDS = 5.0

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Child:
    """A command that should always be running."""

    name: str
    command: list[str]


class _Stop:
    """What the signals have asked for."""

    def __init__(self) -> None:
        self.asked, self.hurried = asyncio.Event(), asyncio.Event()

    def signalled(self) -> None:
        """The first signal asks, the next hurries."""
        (self.hurried if self.asked.is_set() else self.asked).set()


async def supervise(children: list[Child]) -> None:
    """Runs the children until SIGINT or SIGTERM, then ends them all: in good order, or at once at a second signal."""
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.signalled)
    await asyncio.gather(*(_keep_running(child, stop) for child in children))


async def _keep_running(child: Child, stop: _Stop) -> None:
    backoff = FIRST_BACKOFF_SECONDS
    while not stop.asked.is_set():
        began = time.monotonic()
        # A session of its own: Ctrl-C in the terminal reaches the supervisor, which stops the children in order.
        process = await asyncio.create_subprocess_exec(
            *child.command, start_new_session=True, preexec_fn=die_with_parent
        )
        log.info("started", child=child.name, pid=process.pid)
        await _first_of(process.wait(), stop.asked.wait())
        if stop.asked.is_set():
            await _end(process, stop)
            return
        if time.monotonic() - began > STABLE_SECONDS:
            backoff = FIRST_BACKOFF_SECONDS
        if process.returncode == os.EX_TEMPFAIL:  # another worker has its device, and may have it for long
            backoff = LONGEST_BACKOFF_SECONDS
        log.warning("died", child=child.name, exit_code=process.returncode, restart_in_seconds=backoff)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.asked.wait(), backoff)
        backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)


async def _end(process: asyncio.subprocess.Process, stop: _Stop) -> None:
    """SIGTERM, and once more for the hurried; who has not ended after the grace is killed."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_first_of(process.wait(), stop.hurried.wait()), GRACE_SECONDS)
    if process.returncode is None and stop.hurried.is_set():
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), HURRIED_GRACE_SECONDS)
    if process.returncode is None:
        process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), DYING_SECONDS)
    if process.returncode is None:
        log.error("does not die: it may hang in a driver", child_pid=process.pid)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def die_with_parent() -> None:
    """Asks the kernel, from the child, to end it if its parent is killed: that one could not do it any more."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
