"""One child process of the worker: starts it, reads its messages, gives it turns, and ends it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from worker.device.compiler_caches import remove_caches
from worker.device.lock import DeviceLock
from worker.messages import (
    MESSAGE,
    DeviceChecked,
    DeviceHealth,
    DeviceSupport,
    Inspected,
    ModelFacts,
    StepDone,
    SupportMeasured,
    Task,
    TaskFailed,
    TraceKept,
    TrialSucceeded,
    Turn,
    Waiting,
)
from worker.trial import process as trial_process

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

log = structlog.get_logger(__name__)

#: Bytes of a trial's standard error that are kept.
LOG_BYTES = 65_536

#: Limit for starting a process, including the forkserver and its imports.
STARTING_SECONDS = 180.0

#: How long a process is awaited after SIGKILL: one that hangs in the driver may not end.
KILL_WAIT_SECONDS = 10.0

Outcome = TrialResult | ModelFacts | DeviceHealth | DeviceSupport | Failure


@dataclass(frozen=True)
class Killed:
    """A process ended by a signal instead of an outcome."""

    by: signal.Signals
    #: Whether the kernel's OOM killer struck meanwhile.
    oom_killed: bool


class ChildProcess:
    """One child process, which runs one task."""

    def __init__(
        self,
        context: "multiprocessing.context.ForkServerContext",
        task: Task,
        after_step: Callable[[int], None],
        lock: DeviceLock | None,
    ) -> None:
        self._task, self._after_step = task, after_step
        self._results, child_results = context.Pipe(duplex=False)
        child_turns, self._turns = context.Pipe(duplex=False)
        self._errors, child_errors = context.Pipe(duplex=False)
        self._child_ends: list[Connection] = [child_results, child_turns, child_errors]
        # Not daemonic: a daemonic process may have no children, but a data loader needs some. `_end` kills the
        # process group, and the trial itself watches for the worker's end, so no process outlives the worker.
        self._process: ForkServerProcess = context.Process(
            target=trial_process.main, args=(task.model_dump_json(), child_results, child_turns, child_errors, lock)
        )
        self._waits, self._waiting = anyio.create_memory_object_stream[int](1)
        self._error_bytes = bytearray()
        self._outcome: Outcome | None = None
        #: Packed trace of the trial, once it has sent one.
        self.trace: bytes | None = None

    async def run(self, deadline_seconds: float) -> Outcome | Killed:
        """Runs the process and returns its outcome, or what killed it."""
        oom_kills = _oom_kills()
        try:
            try:
                await anyio.to_thread.run_sync(start_process, self._process)
            except (EOFError, ConnectionError):  # the forkserver was killed
                return Killed(signal.SIGKILL, oom_killed=False)
            finally:
                for end in self._child_ends:
                    end.close()
            with anyio.move_on_after(deadline_seconds) as deadline:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._listen)
                    tasks.start_soon(self._collect_errors)
                await anyio.to_thread.run_sync(self._process.join, abandon_on_cancel=True)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()
        if self._outcome is not None:
            return self._outcome
        if deadline.cancelled_caught:
            return _timed_out(self._task, deadline_seconds)
        return self._death(oom_killed=_oom_kills() > oom_kills)

    def standard_error(self) -> str:
        """The end of the process's standard error, without the line that torch's profiler writes at every start."""
        lines = self._error_bytes.decode("utf-8", "replace").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("USDT:"))

    async def is_waiting(self) -> bool:
        """Returns True once the process waits for its next turn, and False if it has ended or failed instead."""
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            await self._waiting.receive()
            return True
        return False

    def give(self, turn: Turn) -> None:
        """Gives a process that waits its next turn."""
        with contextlib.suppress(OSError):  # it has just been killed
            self._turns.send_bytes(turn.model_dump_json().encode())

    async def _listen(self) -> None:
        """Reads messages until the process closes its end of the pipe or dies."""
        with contextlib.suppress(EOFError, OSError), self._waits:
            while True:
                received = await anyio.to_thread.run_sync(self._results.recv_bytes, abandon_on_cancel=True)
                message = MESSAGE.validate_json(received)
                if isinstance(message, StepDone):
                    self._after_step(message.step)
                elif isinstance(message, Waiting):
                    self._after_step(message.step)
                    await self._waits.send(message.step)
                elif isinstance(message, TraceKept):
                    self.trace = message.trace
                elif isinstance(message, TrialSucceeded):
                    self._outcome = message.result
                elif isinstance(message, Inspected):
                    self._outcome = message.facts
                elif isinstance(message, DeviceChecked):
                    self._outcome = message.health
                elif isinstance(message, SupportMeasured):
                    self._outcome = message.support
                elif isinstance(message, TaskFailed):
                    self._outcome = message.failure

    async def _collect_errors(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                await anyio.wait_readable(self._errors.fileno())
                written = os.read(self._errors.fileno(), LOG_BYTES)
                if not written:
                    return
                self._error_bytes += written
                del self._error_bytes[:-LOG_BYTES]

    async def _end(self) -> None:
        """Kills the trial's whole process group and waits for the process to end."""
        if self._process.pid is None:  # it could not be started
            self._close()
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.is_alive():  # it had not created its group yet
            self._process.kill()
        with anyio.move_on_after(KILL_WAIT_SECONDS):
            await anyio.to_thread.run_sync(self._process.join, abandon_on_cancel=True)
        if self._process.is_alive():
            log.error(
                "process survives SIGKILL; it may hang in the driver", task=self._task.name, pid=self._process.pid
            )
        await anyio.to_thread.run_sync(remove_caches, self._process.pid)
        self._close()

    def _close(self) -> None:
        self._waits.close()
        self._waiting.close()
        for end in (self._results, self._turns, self._errors):
            end.close()

    def _death(self, oom_killed: bool) -> Failure | Killed:
        code = self._process.exitcode
        if code is not None and code < 0:
            return Killed(signal.Signals(-code), oom_killed)
        detail = f"The trial process ended with exit code {code} and without a result. Check the benchmark's logs."
        return Failure.of(FailureCode.INTERNAL, detail)


def start_process(process: "ForkServerProcess") -> None:
    """Starts a process. Raises EOFError or ConnectionError when the forkserver dies; kills a forkserver that hangs."""
    with killing_a_stuck_forkserver(STARTING_SECONDS):
        process.start()


@contextlib.contextmanager
def killing_a_stuck_forkserver(limit_seconds: float) -> Iterator[None]:
    """Kills the forkserver after a time limit: pending calls then fail; multiprocessing starts a new one on demand."""
    killing = threading.Timer(limit_seconds, kill_fork_server)
    killing.start()
    try:
        yield
    finally:
        killing.cancel()


def kill_fork_server() -> None:
    """Kills a fork server that does not respond; the next trial starts another."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # no public way
    if pid is not None:
        log.error("forkserver does not respond; killing it", pid=pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _timed_out(task: Task, deadline_seconds: float) -> Failure:
    return Failure.of(
        FailureCode.TIMEOUT,
        f"The {task.name} exceeded its limit of {deadline_seconds:.0f} s. Use fewer steps or a smaller model, or "
        "raise timeout_seconds.",
    )


def _oom_kills() -> int:
    """Number of OOM kills on this machine since boot; 0 if the kernel does not report it."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
