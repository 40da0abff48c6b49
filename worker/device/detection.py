"""Finds the device of a worker. Asks NVML, not torch, which a worker does not load: only its trials use the device."""

import os

from halftime.contract.resources.worker import WorkerDevice
from worker.device import nvml


def detect(choice: str) -> WorkerDevice:
    """Returns the device of a worker: `cpu`, `cuda:0`, or `auto` (the first GPU, or the CPU if there is none).

    Uses NVML, so that the worker holds no CUDA context. Raises ValueError with the remedy, also for a GPU in MIG mode:
    CUDA would use one of its instances, but NVML describe the whole GPU.
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
                f"Device {choice!r} not found: NVML reports {len(gpus)} GPU(s). Check `nvidia-smi` and the driver, "
                "pass the GPU to the container (`--gpus all`), or use `--device cpu`."
            )
        try:
            handle = nvml.require_whole(library, nvml.handle_by(library, gpus[index]))
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
    """Number of GPUs visible to a trial; 0 without a driver."""
    with nvml.opened() as library:
        return len(nvml.visible_gpus(library)) if library else 0


def _gpu_index(choice: str) -> int:
    name, _, index = choice.partition(":")
    if choice in {"auto", "cuda"}:
        return 0
    if name != "cuda" or not index.isdecimal():
        raise ValueError(f"{choice!r} is not a device. Use `cpu`, `cuda:0` or `auto`.")
    return int(index)


def _host_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
