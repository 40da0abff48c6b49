"""Who else computes on the GPU. Asked by the worker, which has no context there: whoever is, is foreign."""

import contextlib
import math
import threading
import time
from dataclasses import dataclass
from types import ModuleType

import anyio
import anyio.to_thread

from halftime.contract.report.trial import TrialResult
from worker.device import nvml
from worker.device.nvml import Handle, Memory

#: How long a trial waits for the device to become free.
PATIENCE_SECONDS = 60.0
#: What the driver itself keeps of a large GPU, and a desktop that is shown on it, stay below this.
UNCLAIMED_BYTES = 2 * 2**30
#: A process that computes holds more: its CUDA context alone takes 100 to 500 MiB. An idle GPU has a few MiB in use
#: beside the driver's own reserve, an idle MIG instance some tens.
LEAST_CONTEXT_BYTES = 96 * 2**20
#: How long the driver may still list a trial that has ended, or hold its memory.
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.25
#: The driver of a sick GPU may not answer at all.
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Occupation:
    """What stands on a device while no trial runs there."""

    used_bytes: int | None
    processes: list[str]


class Neighbours:
    """Watches a worker's device between trials. On a CPU there is nothing to ask."""

    def __init__(self) -> None:
        self._waited_in_vain = False

    async def wait_until_alone(self, device: str, ends: float = math.inf) -> Occupation | None:
        """What is on the device when it is free, or when the patience ends: once, until it has been free again.

        `ends` is when it ends in any case, on the monotonic clock.
        """
        patience_seconds = 0 if self._waited_in_vain else max(0.0, min(PATIENCE_SECONDS, ends - time.monotonic()))
        seen = await _look_until_alone(device, patience_seconds)
        self._waited_in_vain = bool(seen and seen.processes)
        return seen

    async def note(self, device: str, result: TrialResult, before: Occupation | None) -> TrialResult:
        """The result with what was on the device before the trial, and is after it."""
        gpu = result.telemetry.gpu
        if gpu is None or before is None:
            return result
        after = await _look_until_alone(device, GRACE_SECONDS)
        foreign = sorted({*before.processes, *after.processes}) if after else None
        noted = gpu.model_copy(update={"held_before_bytes": before.used_bytes, "foreign_processes": foreign})
        return result.model_copy(update={"telemetry": result.telemetry.model_copy(update={"gpu": noted})})


async def _look_until_alone(device: str, patience_seconds: float) -> Occupation | None:
    given_up = threading.Event()
    try:
        with anyio.move_on_after(patience_seconds + ANSWER_SECONDS):
            return await anyio.to_thread.run_sync(_watch, device, patience_seconds, given_up, abandon_on_cancel=True)
        return None
    finally:
        given_up.set()


def _watch(device: str, patience_seconds: float, given_up: threading.Event) -> Occupation | None:
    """Looks until nobody is there, the patience ends, or it has been given up; NVML is opened once for all looks."""
    deadline = time.monotonic() + patience_seconds
    with nvml.opened() if device != "cpu" else contextlib.nullcontext():
        while True:
            seen = look(device)
            if seen is None or not seen.processes or time.monotonic() >= deadline or given_up.wait(POLL_SECONDS):
                return seen


def look(device: str) -> Occupation | None:
    """The device as it is now; None where NVML does not tell of it."""
    if device == "cpu":
        return None
    with nvml.opened() as library:
        handle = nvml.ask(library, nvml.handle_of, library, device) if library else None
        return None if library is None or handle is None else _occupation(library, handle)


def _occupation(library: ModuleType, handle: Handle) -> Occupation | None:
    running = nvml.computing_on(library, handle)
    memory = nvml.memory_of(library, handle)
    if running is None and memory is None:
        return None
    processes = [_describe(process) for process in running or []]
    if not processes and memory is not None and memory.used_bytes > _unclaimed_bytes(library, handle, memory):
        processes = [f"a process that NVML does not name, {memory.used_bytes / 2**20:.0f} MiB"]
    return Occupation(memory.used_bytes if memory else None, processes)


def _unclaimed_bytes(library: ModuleType, handle: Handle, memory: Memory) -> int:
    """What may be in use though nobody computes there."""
    shown_on = nvml.ask(library, library.nvmlDeviceGetDisplayActive, nvml.card_of(library, handle))
    return LEAST_CONTEXT_BYTES if memory.without_reserve and not shown_on else UNCLAIMED_BYTES


def _describe(process: object) -> str:
    used_bytes = getattr(process, "usedGpuMemory", None)
    held = f", {used_bytes / 2**20:.0f} MiB" if used_bytes else ""
    return f"process {getattr(process, 'pid', 'unknown')}{held}"
