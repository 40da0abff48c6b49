"""Queries the driver about GPUs through NVML, which needs no CUDA context."""

import contextlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple, NewType, TypeVar

import structlog

log = structlog.get_logger(__name__)

#: NVML's handle of a GPU: a pointer, valid while the library is open.
Handle = NewType("Handle", object)

Answer = TypeVar("Answer")

#: Prefixes of the UUIDs of GPUs and MIG instances.
UUID_PREFIXES = ("GPU-", "MIG-")


class Memory(NamedTuple):
    """Memory of a GPU or MIG instance."""

    total_bytes: int
    used_bytes: int
    #: Whether `used_bytes` excludes what the driver reserves.
    excludes_reserved: bool


@contextlib.contextmanager
def opened() -> Iterator[ModuleType | None]:
    """Opens NVML for the duration of the block; yields None without a driver.

    NVML counts references: nested blocks cost nothing. No process keeps it open for its whole life, because that counts
    as use of the GPU, and `nvidia-smi --gpu-reset` refuses a GPU in use.
    """
    import pynvml  # noqa: PLC0415 # loads the driver's library

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def ask(library: ModuleType, question: Callable[..., Answer], *of: object) -> Answer | None:
    """Calls an NVML function; None if the GPU or the driver (older than the binding, perhaps) does not support it."""
    with contextlib.suppress(library.NVMLError, library.NVMLLibraryMismatchError):
        return question(*of)
    return None


def visible_gpus(library: ModuleType) -> list[int | str]:
    """NVML's indices and UUIDs in CUDA's order of devices: NVML itself ignores CUDA_VISIBLE_DEVICES.

    GPUs given by index are not queried, so that a lost one does not affect the others.
    """
    count = int(library.nvmlDeviceGetCount())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
    gpus: list[int | str] = []
    for name in (entry.strip() for entry in visible.split(",")):
        gpu = int(name) if name.isdecimal() and int(name) < count else _resolve_uuid(library, name)
        if gpu is None:  # as in CUDA: an invalid entry hides all after it
            break
        if gpu in gpus:  # as in CUDA: a duplicate entry makes the whole list invalid
            return []
        gpus.append(gpu)
    return gpus


def _resolve_uuid(library: ModuleType, name: str) -> str | None:
    """Resolves a UUID or its prefix to the UUID of a GPU or instance; None if none or several match."""
    if not name.startswith(UUID_PREFIXES):
        return None
    if ask(library, library.nvmlDeviceGetHandleByUUID, name) is not None:
        return name
    matching = [uuid for uuid in _uuids(library) if uuid.startswith(name)]
    return matching[0] if len(matching) == 1 else None


def _uuids(library: ModuleType) -> Iterator[str]:
    """Yields the UUIDs of all reachable GPUs and their instances."""
    for index in range(library.nvmlDeviceGetCount()):
        gpu = ask(library, library.nvmlDeviceGetHandleByIndex, index)
        if gpu is None:
            continue
        for one in [gpu, *(_mig_instances(library, gpu) or [])]:
            uuid = ask(library, _uuid, library, one)
            if uuid is not None:
                yield uuid


def handle_by(library: ModuleType, gpu: int | str) -> Handle:
    """Returns the handle of a visible GPU by index or UUID. Raises NVMLError for a lost GPU."""
    by = library.nvmlDeviceGetHandleByIndex if isinstance(gpu, int) else library.nvmlDeviceGetHandleByUUID
    handle = Handle(by(gpu))
    instances = _mig_instances(library, handle) or []
    return instances[0] if len(instances) == 1 else handle


def handle_of(library: ModuleType, device: str) -> Handle | None:
    """Returns the handle of `cuda:N` as CUDA numbers it; None if it is no GPU here. Raises NVMLError for a lost GPU."""
    kind, _, index = device.partition(":")
    gpus = visible_gpus(library) if kind == "cuda" else []
    number = int(index or 0)
    return handle_by(library, gpus[number]) if number < len(gpus) else None


def available_devices() -> list[str]:
    """Lists the devices of this node, for one worker each: `cuda:0`, `cuda:1` …, or `cpu` without a GPU.

    Each instance of a GPU in MIG mode is a device. CUDA gives a process one instance, selected by UUID; if there is
    any, all devices are given as UUIDs.
    """
    with opened() as library:
        gpus = visible_gpus(library) if library else []
        if library is None or not gpus:
            return ["cpu"]
        named: list[str] = []
        has_mig = False
        for gpu in gpus:
            try:
                handle = handle_by(library, gpu)
                instances = _mig_instances(library, handle)
                has_mig |= instances is not None
                named += [_uuid(library, one) for one in ([handle] if instances is None else instances)]
            except library.NVMLError as error:
                log.warning("GPU lost: the driver cannot reach it", gpu=gpu, error=str(error))
        return named if has_mig else [f"cuda:{index}" for index in range(len(gpus))]


def require_whole(library: ModuleType, gpu: Handle) -> Handle:
    """Returns the GPU or instance unchanged. Raises ValueError for a GPU in MIG mode, which is split into instances."""
    instances = _mig_instances(library, gpu)
    if instances is None or is_instance(library, gpu):
        return gpu
    named = ", ".join(_uuid(library, one) for one in instances) or "none created yet"
    raise ValueError(
        f"{_uuid(library, gpu)} is in MIG mode. Set CUDA_VISIBLE_DEVICES to an instance ({named}), or run "
        "`halftime worker` without --device to start a worker on each."
    )


def is_instance(library: ModuleType, gpu: Handle) -> bool:
    """Whether the handle is a MIG instance; False for GPUs without MIG support, which do not answer."""
    return bool(ask(library, library.nvmlDeviceIsMigDeviceHandle, gpu))


def physical_gpu_of(library: ModuleType, gpu: Handle) -> Handle:
    """The physical GPU of an instance, which alone has clocks, power and ECC counters; a GPU itself is returned."""
    if not is_instance(library, gpu):
        return gpu
    return ask(library, library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, gpu) or gpu


def memory_of(library: ModuleType, gpu: Handle) -> Memory | None:
    """Reads total and used memory; None for a GPU without memory of its own."""
    info = ask(library, library.nvmlDeviceGetMemoryInfo, gpu, library.nvmlMemory_v2)
    if info is not None:
        return Memory(int(info.total), int(info.used), excludes_reserved=True)
    info = ask(library, library.nvmlDeviceGetMemoryInfo, gpu)  # a driver before release 510
    return None if info is None else Memory(int(info.total), int(info.used), excludes_reserved=False)


def compute_processes(library: ModuleType, gpu: Handle) -> list[object] | None:
    """Compute processes on the GPU, with `pid` and `usedGpuMemory`; None if NVML does not report them.

    In a container with its own PID namespace, the proprietary kernel module lists all processes by their PIDs on the
    host; the open one omits those of other containers and of the host (open-gpu-kernel-modules,
    `gpuGetProcWithObject`).
    """
    return ask(library, library.nvmlDeviceGetComputeRunningProcesses, gpu)


def driver_version() -> str | None:
    """Version of the GPU driver; None without one."""
    with opened() as library:
        return str(library.nvmlSystemGetDriverVersion()) if library else None


def uuid_of(device: str) -> str | None:
    """UUID of `cuda:N` in CUDA's numbering; None if it is no GPU here."""
    with opened() as library:
        handle = handle_of(library, device) if library else None
        return None if library is None or handle is None else _uuid(library, handle)


def _uuid(library: ModuleType, handle: Handle) -> str:
    return str(library.nvmlDeviceGetUUID(handle))


def _mig_instances(library: ModuleType, gpu: Handle) -> list[Handle] | None:
    """MIG instances of a GPU (of an instance: itself); None for a GPU that is not in MIG mode."""
    if is_instance(library, gpu):
        return [gpu]
    in_mig_mode, _ = ask(library, library.nvmlDeviceGetMigMode, gpu) or (0, 0)
    if not in_mig_mode:
        return None
    instances = []
    for index in range(library.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with contextlib.suppress(library.NVMLError_NotFound):
            instances.append(library.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return instances


def allows_one_process(device: str) -> bool:
    """Whether the GPU's compute mode refuses a second process; False if NVML does not say."""
    if device == "cpu":
        return False
    with opened() as library:
        handle = ask(library, handle_of, library, device) if library else None
        if library is None or handle is None:
            return False
        mode = ask(library, library.nvmlDeviceGetComputeMode, physical_gpu_of(library, handle))
        return bool(mode == library.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
