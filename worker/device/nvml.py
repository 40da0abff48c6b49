"""NVML: what the driver tells of GPUs without a CUDA context."""

import contextlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple, NewType, TypeVar

import structlog

log = structlog.get_logger(__name__)

#: NVML's own name for a GPU: a pointer, good while the library is open.
Handle = NewType("Handle", object)

Answer = TypeVar("Answer")

#: How the UUID of a GPU, or of a part of one, begins.
UUIDS = ("GPU-", "MIG-")


class Memory(NamedTuple):
    """Of a GPU, or of an instance."""

    total_bytes: int
    used_bytes: int
    #: Whether what the driver keeps for itself is left out of what is used.
    without_reserve: bool


@contextlib.contextmanager
def opened() -> Iterator[ModuleType | None]:
    """NVML for the length of a block; None where there is no driver.

    NVML counts who has opened it: within another such block, opening it again costs nothing. No process keeps it open
    for its whole life: that uses the GPU, and `nvidia-smi --gpu-reset` refuses one in use.
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
    """None where this GPU does not tell, or this driver, which may be older than the binding."""
    with contextlib.suppress(library.NVMLError, library.NVMLLibraryMismatchError):
        return question(*of)
    return None


def visible_gpus(library: ModuleType) -> list[int | str]:
    """NVML's numbers and UUIDs in the order CUDA numbers GPUs: NVML itself knows nothing of CUDA_VISIBLE_DEVICES.

    None of those with a number is asked for: one that is lost answers nothing, and is no matter of the others.
    """
    count = int(library.nvmlDeviceGetCount())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
    gpus: list[int | str] = []
    for name in (entry.strip() for entry in visible.split(",")):
        gpu = int(name) if name.isdecimal() and int(name) < count else _uuid_that_begins(library, name)
        if gpu is None:  # as CUDA does: nothing after the first that is none
            break
        if gpu in gpus:  # as CUDA does: a device that is named twice makes the whole list void
            return []
        gpus.append(gpu)
    return gpus


def _uuid_that_begins(library: ModuleType, name: str) -> str | None:
    """Of the GPU or instance that a UUID names, or the beginning of one; None for what names none, or several."""
    if not name.startswith(UUIDS):
        return None
    if ask(library, library.nvmlDeviceGetHandleByUUID, name) is not None:
        return name
    matching = [uuid for uuid in _uuids(library) if uuid.startswith(name)]
    return matching[0] if len(matching) == 1 else None


def _uuids(library: ModuleType) -> Iterator[str]:
    """Of all GPUs that the driver reaches, and of all instances."""
    for index in range(library.nvmlDeviceGetCount()):
        gpu = ask(library, library.nvmlDeviceGetHandleByIndex, index)
        if gpu is None:
            continue
        for one in [gpu, *(_mig_instances(library, gpu) or [])]:
            uuid = ask(library, _uuid, library, one)
            if uuid is not None:
                yield uuid


def handle_by(library: ModuleType, gpu: int | str) -> Handle:
    """Of one of the visible GPUs. Raises NVMLError for one that is lost."""
    by = library.nvmlDeviceGetHandleByIndex if isinstance(gpu, int) else library.nvmlDeviceGetHandleByUUID
    handle = Handle(by(gpu))
    instances = _mig_instances(library, handle) or []
    return instances[0] if len(instances) == 1 else handle


def handle_of(library: ModuleType, device: str) -> Handle | None:
    """Of `cuda:N` as CUDA numbers it; None for what is no GPU here. Raises NVMLError for one that is lost."""
    kind, _, index = device.partition(":")
    gpus = visible_gpus(library) if kind == "cuda" else []
    number = int(index or 0)
    return handle_by(library, gpus[number]) if number < len(gpus) else None


def workable_devices() -> list[str]:
    """The devices of this node, one worker each: `cuda:0`, `cuda:1` …, or `cpu` where there is no GPU.

    A GPU in MIG mode is as many devices as it is cut into. CUDA gives a process one of them, chosen by its UUID; where
    there is any, all devices are named by their UUIDs.
    """
    with opened() as library:
        gpus = visible_gpus(library) if library else []
        if library is None or not gpus:
            return ["cpu"]
        named: list[str] = []
        any_is_cut = False
        for gpu in gpus:
            try:
                handle = handle_by(library, gpu)
                instances = _mig_instances(library, handle)
                any_is_cut |= instances is not None
                named += [_uuid(library, one) for one in ([handle] if instances is None else instances)]
            except library.NVMLError as error:
                log.warning("the driver cannot reach a GPU", gpu=gpu, error=str(error))
        return named if any_is_cut else [f"cuda:{index}" for index in range(len(gpus))]


def whole(library: ModuleType, gpu: Handle) -> Handle:
    """The GPU, or the instance, itself. Raises ValueError for one that is cut into others."""
    instances = _mig_instances(library, gpu)
    if instances is None or is_instance(library, gpu):
        return gpu
    named = ", ".join(_uuid(library, one) for one in instances) or "none is made yet"
    raise ValueError(
        f"{_uuid(library, gpu)} is in MIG mode: name an instance in CUDA_VISIBLE_DEVICES ({named}), or run "
        "`halftime worker` without --device for a worker on each."
    )


def is_instance(library: ModuleType, gpu: Handle) -> bool:
    """Whether a handle is that of a part of a GPU in MIG mode; a GPU older than MIG does not answer that."""
    return bool(ask(library, library.nvmlDeviceIsMigDeviceHandle, gpu))


def card_of(library: ModuleType, gpu: Handle) -> Handle:
    """The whole GPU that an instance is a part of: it alone has clocks, power and ECC. A whole one is its own."""
    if not is_instance(library, gpu):
        return gpu
    return ask(library, library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, gpu) or gpu


def memory_of(library: ModuleType, gpu: Handle) -> Memory | None:
    """None for a GPU that has none of its own and uses the machine's."""
    told = ask(library, library.nvmlDeviceGetMemoryInfo, gpu, library.nvmlMemory_v2)
    if told is not None:
        return Memory(int(told.total), int(told.used), without_reserve=True)
    told = ask(library, library.nvmlDeviceGetMemoryInfo, gpu)  # a driver before release 510
    return None if told is None else Memory(int(told.total), int(told.used), without_reserve=False)


def computing_on(library: ModuleType, gpu: Handle) -> list[object] | None:
    """Processes that compute there, with `pid` and `usedGpuMemory`; None where NVML does not tell.

    Within a container with process numbers of its own, the proprietary kernel module gives all of them by their numbers
    on the host; the open one leaves out those of other containers and of the host (open-gpu-kernel-modules,
    `gpuGetProcWithObject`).
    """
    return ask(library, library.nvmlDeviceGetComputeRunningProcesses, gpu)


def driver_version() -> str | None:
    """Of the GPUs' driver; None without one."""
    with opened() as library:
        return str(library.nvmlSystemGetDriverVersion()) if library else None


def uuid_of(device: str) -> str | None:
    """Of `cuda:N` as CUDA numbers it; None for what is no GPU here."""
    with opened() as library:
        handle = handle_of(library, device) if library else None
        return None if library is None or handle is None else _uuid(library, handle)


def _uuid(library: ModuleType, handle: Handle) -> str:
    return str(library.nvmlDeviceGetUUID(handle))


def _mig_instances(library: ModuleType, gpu: Handle) -> list[Handle] | None:
    """What a GPU is cut into, an instance into itself; None for a whole one."""
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
