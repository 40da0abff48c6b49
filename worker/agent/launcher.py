"""Runs tasks in child processes, each in a fresh one. The worker itself never uses the device."""

import functools
import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from typing import TypeVar

import anyio.to_thread
import structlog

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from worker.agent.child_process import (
    KILL_WAIT_SECONDS,
    ChildProcess,
    Killed,
    Outcome,
    killing_a_stuck_forkserver,
    start_process,
)
from worker.agent.conductor import conduct
from worker.device.lock import DeviceLock
from worker.device.other_processes import OtherProcesses, with_usage
from worker.messages import (
    AfterStepInTurns,
    BlockTurns,
    DeviceCheck,
    DeviceHealth,
    DeviceSupport,
    Inspection,
    KeepTrace,
    ModelFacts,
    OutcomeInTurns,
    SupportCheck,
    Task,
    TimeLimit,
    TrialSpec,
)

log = structlog.get_logger(__name__)

#: Importing torch takes a second, and another for its compiler, which an optimizer and the account of memory load: the
#: forkserver does it once. It uses no device, so its children can.
PRELOADED = ["worker.trial.task", "torch.distributed._tools.mem_tracker"]

#: Attempts of a trial, or of a block in turns, of which a process is killed by a signal.
MAX_ATTEMPTS = 2

End = TypeVar("End")


class TrialLauncher:
    """Runs every trial in a fresh child of a forkserver that has already imported torch."""

    def __init__(self, lock: DeviceLock | None = None) -> None:
        self._lock = lock
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._other_processes = OtherProcesses()

    async def warm_up(self) -> None:
        """Starts the forkserver before the first trial."""
        process = self._context.Process(target=_nothing)
        await anyio.to_thread.run_sync(start_process, process)
        await anyio.to_thread.run_sync(process.join)

    async def close(self) -> None:
        """Ends the forkserver and waits for its end; otherwise it would briefly outlive the worker."""
        with killing_a_stuck_forkserver(KILL_WAIT_SECONDS):
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
        """Returns the device's support of each precision and its ceilings, or why it could not be measured."""
        outcome, _ = await self._run(SupportCheck(device=device), deadline_seconds, lambda step: None)
        assert isinstance(outcome, DeviceSupport | Failure)
        return outcome

    async def run(
        self,
        spec: TrialSpec,
        deadline_seconds: float,
        after_step: Callable[[int], None],
        keep_trace: KeepTrace | None = None,
    ) -> tuple[TrialResult | Failure, str]:
        """Returns the result of a trial or why it failed, and the process's standard error.

        The packed trace of an explained trial is given to `keep_trace`, if it has one. Cancelling the call ends the
        trial's whole process group before it returns.
        """
        outcome, logs = await self._run(spec, deadline_seconds, after_step, keep_trace)
        assert isinstance(outcome, TrialResult | Failure)
        return outcome, logs

    async def run_in_turns(
        self,
        specs: Sequence[TrialSpec],
        turns: BlockTurns,
        deadline_seconds: float,
        after_step: AfterStepInTurns,
    ) -> list[tuple[OutcomeInTurns, str]]:
        """Returns the outcome of every trial of a block, whose legs train in turns, and its standard error.

        A block of which a process is killed by a signal is run again, once.
        """
        began, earlier = time.monotonic(), [""] * len(specs)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            results = await self._attempt_in_turns(specs, turns, began, deadline_seconds, after_step)
            killed = {
                spec.name: end.by.name for spec, (end, _) in zip(specs, results, strict=True) if isinstance(end, Killed)
            }
            if not killed:
                break
            log.warning("trials killed", signals=killed, block=specs[0].block, trial_attempt=attempt)
            if attempt < MAX_ATTEMPTS:
                specs = [_to_repeat(spec) for spec in specs]
                earlier = [f"{logs}[the block is run again after {killed}]\n" for _, logs in results]
        return [
            (_killed(spec, end) if isinstance(end, Killed) else end, before + logs)
            for spec, (end, logs), before in zip(specs, results, earlier, strict=True)
        ]

    async def _attempt_in_turns(
        self,
        specs: Sequence[TrialSpec],
        turns: BlockTurns,
        began: float,
        deadline_seconds: float,
        after_step: AfterStepInTurns,
    ) -> list[tuple[OutcomeInTurns | Killed, str]]:
        device, limit = specs[0].device, specs[0].limit
        assert limit is not None
        before = await self._other_processes.wait_until_free(device, began + limit.max_seconds)
        origin = time.monotonic()
        left_seconds = max(0.0, began + limit.max_seconds - origin)
        processes = [
            ChildProcess(
                self._context,
                within_time_limit(spec.model_copy(update={"turns_began": origin}), left_seconds),
                functools.partial(after_step, spec),
                self._lock,
            )
            for spec in specs
        ]
        seconds = min(deadline_seconds, left_seconds)
        ends = await conduct(processes, turns, specs[0].block, began + limit.share_seconds, seconds)
        after = await self._other_processes.usage_after(device) if before is not None else None
        return [
            (_within_budget(with_usage(end, before, after), left_seconds, deadline_seconds), process.standard_error())
            for end, process in zip(ends, processes, strict=True)
        ]

    async def _run(
        self,
        task: Task,
        deadline_seconds: float,
        after_step: Callable[[int], None],
        keep_trace: KeepTrace | None = None,
    ) -> tuple[Outcome, str]:
        logs = ""
        attempt = 0
        limit = task.limit if isinstance(task, TrialSpec) else None
        ends = time.monotonic() + (limit.max_seconds if limit else math.inf)
        while True:
            attempt += 1
            is_trial = isinstance(task, TrialSpec)
            before = await self._other_processes.wait_until_free(task.device, ends) if is_trial else None
            left_seconds = ends - time.monotonic()
            process = ChildProcess(self._context, within_time_limit(task, left_seconds), after_step, self._lock)
            end = await process.run(min(deadline_seconds, max(0.0, left_seconds)))
            logs += process.standard_error()
            if not isinstance(end, Killed):
                if process.trace is not None and keep_trace is not None:
                    keep_trace(process.trace)
                after = await self._other_processes.usage_after(task.device) if before is not None else None
                return _within_budget(with_usage(end, before, after), left_seconds, deadline_seconds), logs
            log.warning("trial killed", signal=end.by.name, task=task.name, trial_attempt=attempt)
            logs += f"[{task.name} was killed by {end.by.name}]\n"
            if attempt == MAX_ATTEMPTS:
                return _killed(task, end), logs
            task = _to_repeat(task) if isinstance(task, TrialSpec) else task


def within_time_limit(task: Task, left_seconds: float) -> Task:
    """Returns the task with its limits reduced by the time that waiting and earlier attempts took."""
    if not isinstance(task, TrialSpec) or task.limit is None:
        return task
    used_seconds = task.limit.max_seconds - left_seconds
    limit = TimeLimit(share_seconds=task.limit.share_seconds - used_seconds, max_seconds=left_seconds)
    return task.model_copy(update={"limit": limit})


def _to_repeat(spec: TrialSpec) -> TrialSpec:
    """Returns the spec for another attempt: a compiler that was killed may have left half of a library in its cache."""
    return spec.model_copy(update={"compile_cache": None})


def _within_budget(end: End, left_seconds: float, deadline_seconds: float) -> End | Failure:
    """Returns how a process ended; the failure of one that the time budget ended, not its deadline, says so."""
    timed_out = isinstance(end, Failure) and end.code is FailureCode.TIMEOUT
    if timed_out and left_seconds < deadline_seconds:
        return Failure.of(FailureCode.TIME_BUDGET, "The time budget ended before the trial finished.")
    return end


def _nothing() -> None:
    """Does nothing: the child only shows that the forkserver responds."""


def _killed(task: Task, end: Killed) -> Failure:
    what = f"The {task.name} was killed by {end.by.name} in {MAX_ATTEMPTS} attempts."
    if end.oom_killed and end.by is signal.SIGKILL:
        return Failure.of(FailureCode.OUT_OF_MEMORY, f"{what} The kernel's OOM killer did it. Use a smaller batch.")
    return Failure.of(FailureCode.INTERNAL, f"{what} Check the benchmark's logs.")
