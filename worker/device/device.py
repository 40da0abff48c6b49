"""The device: whether it is there, how it is reset, and what can be told about it."""

import contextlib
import gc
import os
import platform
from pathlib import Path
from types import ModuleType

import torch

from halftime import __version__
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.trial import NEAR_ZERO_BYTES, Environment
from halftime.contract.resources.worker import WorkerDevice
from worker.device import nvml
from worker.device.host_counters import available_host_bytes
from worker.errors import TrialFailed


def detect(choice: str) -> WorkerDevice:
    """The device of a worker: `cpu`, `cuda:0`, or `auto` for the first GPU and else the CPU.

    Asks NVML, so that the worker itself holds no CUDA context. Raises ValueError with the remedy, also for a GPU in MIG
    mode: CUDA would take one of its instances, and NVML tell of the whole.
    """
    if choice == "cpu":
        return WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=_host_memory_bytes())
    with nvml.opened() as library:
        gpus = nvml.visible_gpus(library) if library else []
        if choice == "auto" and not gpus:
            return detect("cpu")
        index = _gpu_index(choice)
        if library is None or index >= len(gpus):
            raise ValueError(
                f"There is no device {choice!r}: NVML sees {len(gpus)} GPU(s). Check `nvidia-smi` and the driver, "
                "pass the GPU through to the container (`--gpus all`), or use `--device cpu`."
            )
        try:
            handle = nvml.whole(library, nvml.handle_by(library, gpus[index]))
            memory = nvml.memory_of(library, handle)
            return WorkerDevice(
                name=f"cuda:{index}",
                kind="cuda",
                gpu=str(library.nvmlDeviceGetName(handle)),
                memory_bytes=memory.total_bytes if memory else _host_memory_bytes(),
            )
        except library.NVMLError as error:
            raise ValueError(
                f"The driver cannot reach cuda:{index}: {error}. Reset the GPU (`nvidia-smi --gpu-reset`) or reboot "
                "the node."
            ) from error


def gpu_count() -> int:
    """GPUs that a trial would see; 0 without a driver."""
    with nvml.opened() as library:
        return len(nvml.visible_gpus(library)) if library else 0


def make_current(device: torch.device) -> None:
    """Directs events and streams that name no device to this one: by default they are those of `cuda:0`."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def limit_memory(device: torch.device, limit_bytes: int | None) -> None:
    """Lets the process allocate no more than this of a GPU; what goes beyond is out of memory."""
    if limit_bytes is not None and device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)


def reset_memory(device: torch.device, cuda: ModuleType = torch.cuda) -> int | None:
    """Frees what nobody uses, then resets the peak counters; bytes still allocated, None on a CPU.

    Raises TrialFailed where a fresh process does not start near zero, or the peak was not reset.
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
            f"The trial does not start from an empty device: {allocated} bytes allocated, peak {peak} bytes.",
        )
    return allocated


def out_of_memory(device: torch.device, error: BaseException) -> TrialFailed:
    """The typed failure of an allocation that did not fit: what was asked, and what was free."""
    free = _free_bytes(device)
    asked = str(error).split("\n", maxsplit=1)[0][:500]
    return TrialFailed.because(
        FailureCode.OUT_OF_MEMORY, f"{asked} ({free / 2**20:.0f} MiB of {device} were free when it failed.)"
    )


def require_host_memory(needed_bytes: int) -> None:
    """Refuses what would drive the machine itself out of memory. Raises TrialFailed: `out_of_memory`."""
    available = available_host_bytes()
    if available is not None and needed_bytes > available:
        raise TrialFailed.because(
            FailureCode.OUT_OF_MEMORY,
            f"The trial needs at least {needed_bytes / 2**20:.0f} MiB of memory; the machine has "
            f"{available / 2**20:.0f} MiB available. Use a smaller model or batch.",
        )


def environment(device: torch.device) -> Environment:
    """Where the trial runs."""
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


def _gpu_index(choice: str) -> int:
    name, _, index = choice.partition(":")
    if choice in {"auto", "cuda"}:
        return 0
    if name != "cuda" or not index.isdecimal():
        raise ValueError(f"{choice!r} is no device: use `cpu`, `cuda:0` or `auto`.")
    return int(index)


def _cpu_name() -> str:
    """The processor's model, from the kernel where it tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _host_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_host_bytes() or 0
