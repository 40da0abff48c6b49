"""NVML: what the driver tells of GPUs without a CUDA context."""

import contextlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import NewType

#: NVML's own name for a GPU: a pointer, good while the library is open.
Handle = NewType("Handle", object)


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
        elif name.startswith(("GPU-", "MIG-")):
            handles.append(library.nvmlDeviceGetHandleByUUID(name))
        else:  # as CUDA does: nothing after the first that is none
            break
    return handles


def handle_of(library: ModuleType, device: str) -> Handle | None:
    """Of `cuda:N` as CUDA numbers it; None for what is no GPU here."""
    kind, _, index = device.partition(":")
    handles = visible_gpus(library) if kind == "cuda" else []
    number = int(index or 0)
    return handles[number] if number < len(handles) else None
