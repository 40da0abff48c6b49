"""Detects other processes on the GPU. The worker has no CUDA context, so between trials all of them are foreign."""

import contextlib
import math
import threading
import time
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

import anyio
import anyio.to_thread

from halftime.contract.report.trial import TrialResult
from worker.device import nvml
from worker.device.nvml import Handle, Memory

#: How long a trial waits for other processes to leave the device.
MAX_WAIT_SECONDS = 60.0
#: Upper bound of the memory that the driver reserves on a large GPU, or that a desktop on its display uses.
UNCLAIMED_BYTES = 2 * 2**30
#: Lower bound of what a compute process holds: its CUDA context alone takes 100 to 500 MiB. An idle GPU uses a few MiB
#: besides the driver's reserve, an idle MIG instance some tens.
MIN_CONTEXT_BYTES = 96 * 2**20
#: How long the driver may list an ended trial or hold its memory.
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.25
#: Limit for the driver's reply: the driver of a faulty GPU may hang.
ANSWER_SECONDS = 30.0


Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class DeviceUsage:
    """Memory in use and processes on a device while no trial runs there."""

    used_bytes: int | None
    processes: list[str]


class OtherProcesses:
    """Observes other processes on a worker's device between trials; does nothing on a CPU."""

    def __init__(self) -> None:
        self._wait_timed_out = False

    async def wait_until_free(self, device: str, ends: float = math.inf) -> DeviceUsage | None:
        """Waits until the device is free, up to MAX_WAIT_SECONDS and the monotonic time `ends`; returns its use.

        After a wait that timed out, later calls do not wait until the device has been free again.
        """
        timeout_seconds = 0 if self._wait_timed_out else max(0.0, min(MAX_WAIT_SECONDS, ends - time.monotonic()))
        usage = await _poll_until_free(device, timeout_seconds)
        self._wait_timed_out = bool(usage and usage.processes)
        return usage

    async def usage_after(self, device: str) -> DeviceUsage | None:
        """Returns the use once the driver has let go of an ended trial, or after a short wait."""
        return await _poll_until_free(device, GRACE_SECONDS)


def with_usage(outcome: Outcome, before: DeviceUsage | None, after: DeviceUsage | None) -> Outcome:
    """Adds the device's use before and after a trial to its result; returns any other outcome as it is."""
    if not isinstance(outcome, TrialResult) or outcome.telemetry.gpu is None or before is None:
        return outcome
    foreign = sorted({*before.processes, *after.processes}) if after else None
    gpu = outcome.telemetry.gpu.model_copy(
        update={"held_before_bytes": before.used_bytes, "foreign_processes": foreign}
    )
    return outcome.model_copy(update={"telemetry": outcome.telemetry.model_copy(update={"gpu": gpu})})


async def _poll_until_free(device: str, timeout_seconds: float) -> DeviceUsage | None:
    cancelled = threading.Event()
    try:
        with anyio.move_on_after(timeout_seconds + ANSWER_SECONDS):
            return await anyio.to_thread.run_sync(_poll, device, timeout_seconds, cancelled, abandon_on_cancel=True)
        return None
    finally:
        cancelled.set()


def _poll(device: str, timeout_seconds: float, cancelled: threading.Event) -> DeviceUsage | None:
    """Polls until the device is free, the time is over, or `cancelled` is set; opens NVML once for all queries."""
    deadline = time.monotonic() + timeout_seconds
    with nvml.opened() if device != "cpu" else contextlib.nullcontext():
        while True:
            usage = query_usage(device)
            if usage is None or not usage.processes or time.monotonic() >= deadline or cancelled.wait(POLL_SECONDS):
                return usage


def query_usage(device: str) -> DeviceUsage | None:
    """Current usage of the device; None on a CPU, or if NVML does not report it."""
    if device == "cpu":
        return None
    with nvml.opened() as library:
        handle = nvml.ask(library, nvml.handle_of, library, device) if library else None
        return None if library is None or handle is None else _usage(library, handle)


def _usage(library: ModuleType, handle: Handle) -> DeviceUsage | None:
    running = nvml.compute_processes(library, handle)
    memory = nvml.memory_of(library, handle)
    if running is None and memory is None:
        return None
    processes = [_describe(process) for process in running or []]
    if not processes and memory is not None and memory.used_bytes > _max_unclaimed_bytes(library, handle, memory):
        processes = [f"a process that NVML does not list, {memory.used_bytes / 2**20:.0f} MiB"]
    return DeviceUsage(memory.used_bytes if memory else None, processes)


def _max_unclaimed_bytes(library: ModuleType, handle: Handle, memory: Memory) -> int:
    """Most memory that can be in use without a compute process."""
    shown_on = nvml.ask(library, library.nvmlDeviceGetDisplayActive, nvml.physical_gpu_of(library, handle))
    return MIN_CONTEXT_BYTES if memory.excludes_reserved and not shown_on else UNCLAIMED_BYTES


def _describe(process: object) -> str:
    used_bytes = getattr(process, "usedGpuMemory", None)
    held = f", {used_bytes / 2**20:.0f} MiB" if used_bytes else ""
    return f"process {getattr(process, 'pid', 'unknown')}{held}"
