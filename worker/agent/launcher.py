"""Starts trial processes, reads their messages, and ends them. The worker itself never uses the device."""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import structlog

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from worker.device.lock import DeviceLock
from worker.device.other_processes import OtherProcesses
from worker.messages import (
    MESSAGE,
    DeviceCheck,
    DeviceChecked,
    DeviceHealth,
    DeviceSupport,
    Inspected,
    Inspection,
    ModelFacts,
    StepDone,
    SupportCheck,
    SupportMeasured,
    Task,
    TaskFailed,
    TimeLimit,
    TrialSpec,
    TrialSucceeded,
)
from worker.training.compiler_caches import remove_caches
from worker.trial import process as trial_process

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

log = structlog.get_logger(__name__)

#: Importing torch takes a second, and another for its compiler, which an optimizer and the account of memory load: the
#: forkserver does it once. It uses no device, so its children can.
PRELOADED = ["worker.trial.task", "torch.distributed._tools.mem_tracker"]

#: Bytes of a trial's standard error that are kept.
LOG_BYTES = 65_536

#: Attempts of a trial whose process is killed by a signal.
MAX_ATTEMPTS = 2

#: Limit for starting a process, including the forkserver and its imports.
STARTING_SECONDS = 180.0

#: How long a process is awaited after SIGKILL: one that hangs in the driver may not end.
KILL_WAIT_SECONDS = 10.0

Outcome = TrialResult | ModelFacts | DeviceHealth | DeviceSupport | Failure


class TrialLauncher:
    """Runs trials one at a time, each in a fresh child of a forkserver that has already imported torch."""

    def __init__(self, lock: DeviceLock | None = None) -> None:
        self._lock = lock
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._other_processes = OtherProcesses()

    async def warm_up(self) -> None:
        """Starts the forkserver before the first trial."""
        process = self._context.Process(target=_nothing)
        await anyio.to_thread.run_sync(_start, process)
        await anyio.to_thread.run_sync(process.join)

    async def close(self) -> None:
        """Ends the forkserver and waits for its end; otherwise it would briefly outlive the worker."""
        with _killing_a_stuck_forkserver(KILL_WAIT_SECONDS):
            await anyio.to_thread.run_sync(forkserver._forkserver._stop)  # type: ignore[attr-defined] # no public way

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """Returns the facts of a model or why it cannot be trained, and the process's standard error."""
        outcome, logs = await self._run(inspection, deadline_seconds, lambda step: None)
        assert isinstance(outcome, ModelFacts | Failure)
        return outcome, logs

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """Returns the health of a device, or why the check did not complete."""
        outcome, _ = await self._run(check, deadline_seconds, lambda step: None)
        assert isinstance(outcome, DeviceHealth | Failure)
        return outcome

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """Returns the device's support of each precision, or why it could not be measured."""
        outcome, _ = await self._run(SupportCheck(device=device), deadline_seconds, lambda step: None)
        assert isinstance(outcome, DeviceSupport | Failure)
        return outcome

    async def run(
        self, spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> tuple[TrialResult | Failure, str]:
        """Returns the result of a trial or why it failed, and the process's standard error.

        Cancelling the call ends the trial's whole process group before it returns.
        """
        outcome, logs = await self._run(spec, deadline_seconds, after_step)
        assert isinstance(outcome, TrialResult | Failure)
        return outcome, logs

    async def _run(self, task: Task, deadline_seconds: float, after_step: Callable[[int], None]) -> tuple[Outcome, str]:
        logs = ""
        attempt = 0
        limit = task.limit if isinstance(task, TrialSpec) else None
        ends = time.monotonic() + (limit.max_seconds if limit else math.inf)
        while True:
            attempt += 1
            is_trial = isinstance(task, TrialSpec)
            before = await self._other_processes.wait_until_free(task.device, ends) if is_trial else None
            left_seconds = ends - time.monotonic()
            process = _TrialProcess(self._context, within_time_limit(task, left_seconds), after_step, self._lock)
            outcome = await process.run(min(deadline_seconds, max(0.0, left_seconds)))
            if isinstance(outcome, Failure) and outcome.code is FailureCode.TIMEOUT and left_seconds < deadline_seconds:
                outcome = Failure.of(FailureCode.TIME_BUDGET, "The time budget ended before the trial finished.")
            logs += process.standard_error()
            if isinstance(outcome, TrialResult):
                return await self._other_processes.note(task.device, outcome, before), logs
            if not isinstance(outcome, signal.Signals):
                return outcome, logs
            log.warning("trial killed", signal=outcome.name, task=task.name, trial_attempt=attempt)
            logs += f"[{task.name} was killed by {outcome.name}]\n"
            if attempt == MAX_ATTEMPTS:
                return _killed(task, outcome, process.oom_killed), logs


def within_time_limit(task: Task, left_seconds: float) -> Task:
    """Returns the task with its limits reduced by the time that waiting and earlier attempts took."""
    if not isinstance(task, TrialSpec) or task.limit is None:
        return task
    used_seconds = task.limit.max_seconds - left_seconds
    limit = TimeLimit(share_seconds=task.limit.share_seconds - used_seconds, max_seconds=left_seconds)
    return task.model_copy(update={"limit": limit})


class _TrialProcess:
    """One child process."""

    def __init__(
        self,
        context: "multiprocessing.context.ForkServerContext",
        task: Task,
        after_step: Callable[[int], None],
        lock: DeviceLock | None,
    ) -> None:
        self._task, self._after_step = task, after_step
        self._results, child_results = context.Pipe(duplex=False)
        self._errors, child_errors = context.Pipe(duplex=False)
        self._child_ends: list[Connection] = [child_results, child_errors]
        # Not daemonic: a daemonic process may have no children, but a data loader needs some. `_end` kills the
        # process group, and the trial itself watches for the worker's end, so no process outlives the worker.
        self._process: ForkServerProcess = context.Process(
            target=trial_process.main, args=(task.model_dump_json(), child_results, child_errors, lock)
        )
        self._error_bytes = bytearray()
        self._outcome: Outcome | None = None
        self.oom_killed = False

    async def run(self, deadline_seconds: float) -> Outcome | signal.Signals:
        """Runs the process and returns its outcome, or the signal that killed it."""
        oom_kills = _oom_kills()
        try:
            try:
                await anyio.to_thread.run_sync(_start, self._process)
            except (EOFError, ConnectionError):  # the forkserver was killed
                return signal.SIGKILL
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
        self.oom_killed = _oom_kills() > oom_kills
        if self._outcome is not None:
            return self._outcome
        return _timed_out(self._task, deadline_seconds) if deadline.cancelled_caught else self._death()

    def standard_error(self) -> str:
        """The end of the process's standard error, without the line that torch's profiler writes at every start."""
        lines = self._error_bytes.decode("utf-8", "replace").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("USDT:"))

    async def _listen(self) -> None:
        """Reads messages until the process closes its end of the pipe or dies."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                received = await anyio.to_thread.run_sync(self._results.recv_bytes, abandon_on_cancel=True)
                message = MESSAGE.validate_json(received)
                if isinstance(message, StepDone):
                    self._after_step(message.step)
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
            self._results.close()
            self._errors.close()
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
        self._results.close()
        self._errors.close()

    def _death(self) -> Failure | signal.Signals:
        code = self._process.exitcode
        if code is not None and code < 0:
            return signal.Signals(-code)
        detail = f"The trial process ended with exit code {code} and without a result. Check the benchmark's logs."
        return Failure.of(FailureCode.INTERNAL, detail)


def _start(process: "ForkServerProcess") -> None:
    """Starts a process. Raises EOFError or ConnectionError when the forkserver dies; kills a forkserver that hangs."""
    with _killing_a_stuck_forkserver(STARTING_SECONDS):
        process.start()


@contextlib.contextmanager
def _killing_a_stuck_forkserver(limit_seconds: float) -> Iterator[None]:
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


def _nothing() -> None:
    """Does nothing: the child only shows that the forkserver responds."""


def _timed_out(task: Task, deadline_seconds: float) -> Failure:
    return Failure.of(
        FailureCode.TIMEOUT,
        f"The {task.name} exceeded its limit of {deadline_seconds:.0f} s. Use fewer steps or a smaller model, or "
        "raise timeout_seconds.",
    )


def _killed(task: Task, by: signal.Signals, oom_killed: bool) -> Failure:
    what = f"The {task.name} was killed by {by.name} in {MAX_ATTEMPTS} attempts."
    if oom_killed and by is signal.SIGKILL:
        return Failure.of(FailureCode.OUT_OF_MEMORY, f"{what} The kernel's OOM killer did it. Use a smaller batch.")
    return Failure.of(FailureCode.INTERNAL, f"{what} Check the benchmark's logs.")


def _oom_kills() -> int:
    """Number of OOM kills on this machine since boot; 0 if the kernel does not report it."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
