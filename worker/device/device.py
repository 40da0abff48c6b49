"""Resets and limits the memory of the device in use, and describes the environment."""

import contextlib
import gc
import platform
import resource
from pathlib import Path
from types import ModuleType

import torch

from halftime import __version__
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.trial import NEAR_ZERO_BYTES, Environment
from worker.device import nvml
from worker.device.host_counters import available_host_bytes
from worker.errors import TrialFailed


def make_current(device: torch.device) -> None:
    """Makes this the default device of events and streams, which is otherwise `cuda:0`."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def limit_memory(device: torch.device, limit_bytes: int | None) -> None:
    """Limits what the process may allocate on a GPU; beyond that, torch reports out of memory."""
    if limit_bytes is not None and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)


def reset_memory(device: torch.device, cuda: ModuleType = torch.cuda) -> int | None:
    """Frees unused memory and resets the peak counters; returns the bytes still allocated, None on a CPU.

    Raises TrialFailed when a fresh process does not start near zero, or the peak was not reset.
    """
    if device.type == "cpu":
        return None
    gc.collect()
    cuda.empty_cache()
    cuda.reset_peak_memory_stats(device)
    allocated, peak = int(cuda.memory_allocated(device)), int(cuda.max_memory_allocated(device))
    if allocated > NEAR_ZERO_BYTES or peak > allocated:
        raise TrialFailed.because(
            FailureCode.INTERNAL,
            f"The trial did not start with empty device memory: {allocated} bytes allocated, peak {peak} bytes.",
        )
    return allocated


def occupied_bytes(device: torch.device) -> int:
    """Most memory that this process has taken from others: its resident set; on a GPU, what the device has in use.

    torch's allocator keeps what it has once reserved, so that the present use is the largest.
    """
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


def free_bytes(device: torch.device) -> int:
    """Free memory of the device; 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_host_bytes() or 0


def out_of_memory(device: torch.device, error: BaseException) -> TrialFailed:
    """Builds the failure of an allocation, with the error's first line and the free memory."""
    free = free_bytes(device)
    message = str(error).split("\n", maxsplit=1)[0][:500]
    return TrialFailed.because(
        FailureCode.OUT_OF_MEMORY, f"{message} ({free / 2**20:.0f} MiB of {device} were free at that point.)"
    )


def require_host_memory(needed_bytes: int) -> None:
    """Raises TrialFailed (`out_of_memory`) when the machine has less memory available than needed."""
    available = available_host_bytes()
    if available is not None and needed_bytes > available:
        raise TrialFailed.because(
            FailureCode.OUT_OF_MEMORY,
            f"The trial needs at least {needed_bytes / 2**20:.0f} MiB of host memory, but only "
            f"{available / 2**20:.0f} MiB are available. Use a smaller model or batch.",
        )


def environment(device: torch.device) -> Environment:
    """Describes the software and hardware that the trial runs on."""
    on_cuda = device.type == "cuda"
    return Environment(
        torch=torch.__version__,
        cuda=torch.version.cuda,
        driver=nvml.driver_version(),
        device=torch.cuda.get_device_name(device) if on_cuda else _cpu_name(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        os=platform.platform(),
        halftime=__version__,
    )


def _cpu_name() -> str:
    """Model of the processor, from the kernel if it reports it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
