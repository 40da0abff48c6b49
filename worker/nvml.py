"""NVML: what the driver tells of GPUs without a CUDA context."""

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import NewType

#: NVML's own name for a GPU: a pointer, good while the library is open.
Handle = NewType("Handle", object)

#: How the UUID of a GPU, or of a part of one, begins.
UUIDS = ("GPU-", "MIG-")


@contextlib.contextmanager
def opened() -> Iterator[ModuleType | None]:
    """NVML for the length of a block; None where there is no driver."""
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


def visible_gpus(library: ModuleType) -> list[Handle]:
    """NVML's handles in the order CUDA numbers them: NVML itself knows nothing of CUDA_VISIBLE_DEVICES."""
    count = int(library.nvmlDeviceGetCount())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
    handles: list[Handle] = []
    for name in (entry.strip() for entry in visible.split(",")):
        if name.isdecimal() and int(name) < count:
            handles.append(library.nvmlDeviceGetHandleByIndex(int(name)))
        elif name.startswith(UUIDS):
            try:
                handles.append(library.nvmlDeviceGetHandleByUUID(name))
            except library.NVMLError:
                break
        else:  # as CUDA does: nothing after the first that is none
            break
    return handles


def handle_of(library: ModuleType, device: str) -> Handle | None:
    """Of `cuda:N` as CUDA numbers it; None for what is no GPU here."""
    kind, _, index = device.partition(":")
    handles = visible_gpus(library) if kind == "cuda" else []
    number = int(index or 0)
    return handles[number] if number < len(handles) else None


def workable_devices() -> list[str]:
    """The devices of this node, one worker each: `cuda:0`, `cuda:1` …, or `cpu` where there is no GPU.

    A GPU in MIG mode is as many devices as it is cut into. CUDA gives a process one of them, chosen by its UUID; where
    there is any, all devices are named by their UUIDs.
    """
    with opened() as library:
        gpus = visible_gpus(library) if library else []
        if library is None or not gpus:
            return ["cpu"]
        parts = [_mig_instances(library, gpu) for gpu in gpus]
        if all(instances is None for instances in parts):
            return [f"cuda:{index}" for index in range(len(gpus))]
        handles = [
            handle for gpu, found in zip(gpus, parts, strict=True) for handle in ([gpu] if found is None else found)
        ]
        return [_uuid(library, handle) for handle in handles]


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
    if library.nvmlDeviceIsMigDeviceHandle(gpu):
        return [gpu]
    try:
        in_mig_mode, _ = library.nvmlDeviceGetMigMode(gpu)
    except library.NVMLError:  # this kind of GPU cannot be cut
        return None
    if not in_mig_mode:
        return None
    instances = []
    for index in range(library.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        with contextlib.suppress(library.NVMLError_NotFound):
            instances.append(library.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return instances
