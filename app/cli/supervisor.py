"""Keeps child processes running: restarts them with backoff and stops them together."""

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

#: The backoff of a child that ran this long is reset.
STABLE_SECONDS = 30.0

#: Time between SIGTERM and SIGKILL.
GRACE_SECONDS = 15.0

#: Time between SIGTERM and SIGKILL after a second signal to the supervisor.
FORCED_GRACE_SECONDS = 1.0

#: How long a killed child is waited for: one that hangs in a driver may not exit.
DYING_SECONDS = 5.0

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Child:
    """A command that is kept running."""

    name: str
    command: list[str]


class _Stop:
    """The kind of stop that signals have requested: an orderly one, or an immediate one."""

    def __init__(self) -> None:
        self.requested, self.forced = asyncio.Event(), asyncio.Event()

    def signalled(self) -> None:
        """Requests a stop at the first signal and forces it at the next."""
        (self.forced if self.requested.is_set() else self.requested).set()


async def supervise(children: list[Child]) -> None:
    """Runs the children until SIGINT or SIGTERM, then stops them all; a second signal shortens the grace period."""
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.signalled)
    await asyncio.gather(*(_keep_running(child, stop) for child in children))


async def _keep_running(child: Child, stop: _Stop) -> None:
    backoff = FIRST_BACKOFF_SECONDS
    while not stop.requested.is_set():
        began = time.monotonic()
        # In its own session: Ctrl-C in the terminal reaches only the supervisor, which stops the children.
        process = await asyncio.create_subprocess_exec(
            *child.command, start_new_session=True, preexec_fn=die_with_parent
        )
        log.info("started", child=child.name, pid=process.pid)
        await _first_of(process.wait(), stop.requested.wait())
        if stop.requested.is_set():
            await _end(process, stop)
            return
        if time.monotonic() - began > STABLE_SECONDS:
            backoff = FIRST_BACKOFF_SECONDS
        if process.returncode == os.EX_TEMPFAIL:  # another worker owns the device, possibly for long
            backoff = LONGEST_BACKOFF_SECONDS
        log.warning("exited", child=child.name, exit_code=process.returncode, restart_in_seconds=backoff)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.requested.wait(), backoff)
        backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)


async def _end(process: asyncio.subprocess.Process, stop: _Stop) -> None:
    """Sends SIGTERM, again when the stop is forced, and SIGKILL after the grace period."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_first_of(process.wait(), stop.forced.wait()), GRACE_SECONDS)
    if process.returncode is None and stop.forced.is_set():
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), FORCED_GRACE_SECONDS)
    if process.returncode is None:
        process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), DYING_SECONDS)
    if process.returncode is None:
        log.error("does not exit after SIGKILL: it may hang in a driver", child_pid=process.pid)


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def die_with_parent() -> None:
    """Asks the kernel, in the child, to send it SIGTERM when its parent dies; a killed parent cannot stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
