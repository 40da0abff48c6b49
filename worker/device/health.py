"""Whether a device is fit for work: asked of the driver, and of the device itself by a product with a known result.

Runs in a process of its own: a broken CUDA context ends with it, and one that hangs is ended.
"""

import time
from collections.abc import Iterator
from types import ModuleType

import torch

from worker.device import nvml
from worker.device.architectures import INSTALL, first_line, missing_code, why_unavailable
from worker.device.device import make_current
from worker.device.nvml import Handle
from worker.device.other_processes import UNCLAIMED_BYTES
from worker.errors import is_out_of_memory
from worker.messages import DeviceCheck, DeviceHealth

#: How long the memory of a process that has ended may still be held.
SETTLING_SECONDS = 5.0
POLL_SECONDS = 0.25

#: Rows and columns of the matrices; their entries are whole numbers so small that every precision has them exactly.
SIZE = 256
LARGEST_ENTRY = 3

#: NVML's field for what a GPU needs before it works again; older drivers and bindings do not have it.
RECOVERY_FIELD = "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"
#: Its values that ask for something of a GPU that works alone.
RECOVERY_ACTIONS = {1: "a reset", 2: "a reboot of the node", 4: "a reset", 6: "a reset of its bus", 7: "a reboot"}

#: How CUDA says that torch has no code for the GPU, whatever its list of architectures promises.
NO_CODE = "no kernel image is available"

RESET = "Reset the GPU (`nvidia-smi --gpu-reset`) or reboot the node."


def check_device(check: DeviceCheck) -> DeviceHealth:
    """What is wrong with a device, as far as can be told."""
    with nvml.opened():  # once for all that is asked
        faults = [*driver_faults(check.device), *held_memory(check.device)]  # before this process has memory there
        return DeviceHealth(faults=[*faults, *arithmetic_faults(check.device)])


def driver_faults(device: str) -> Iterator[str]:
    """What the driver knows to be wrong with a GPU; of what it does not tell, nothing is said."""
    with nvml.opened() as library:
        if library is None or device == "cpu":
            return
        try:
            handle = nvml.handle_of(library, device)
        except library.NVMLError as error:
            yield f"The driver cannot reach the GPU: {error}. {RESET}"
            return
        if handle is None:
            yield f"The driver does not see {device} any more. Check `nvidia-smi` and the kernel's log for Xid errors."
            return
        card = nvml.card_of(library, handle)
        yield from _memory_errors(library, card)
        needed = RECOVERY_ACTIONS.get(_recovery_action(library, card) or 0)
        if needed is not None:
            yield f"The driver asks for {needed} of the GPU; the kernel's log has the Xid error."


def held_memory(device: str) -> Iterator[str]:
    """Memory of a GPU that stays taken though no process that the driver names has it."""
    with nvml.opened() as library:
        deadline = time.monotonic() + SETTLING_SECONDS
        while held_bytes := _unclaimed_bytes(library, device) if library else 0:
            if time.monotonic() >= deadline:
                yield (
                    f"{held_bytes / 2**20:.0f} MiB of the GPU stay held by no process that the driver names. End what "
                    f"uses it, in another container or as a zombie. {RESET}"
                )
                return
            time.sleep(POLL_SECONDS)


def arithmetic_faults(device: str) -> Iterator[str]:
    """Whether the device multiplies two matrices, and rightly. One that torch has no code for need not be reset."""
    on_cuda = device != "cpu"
    if on_cuda and torch.version.cuda is None:  # no fault of the device: trials say `cuda_unavailable`
        return
    if on_cuda and not torch.cuda.is_available():
        why = why_unavailable() or "it does not say why"
        yield f"torch finds no CUDA device: {why}. Check `nvidia-smi`, the driver, and the kernel's log for Xid errors."
        return
    try:
        make_current(torch.device(device))
        missing = missing_code(torch.device(device)) if on_cuda else None
        right = missing is not None or _multiplies_rightly(torch.device(device))
    except RuntimeError as error:
        if not (is_out_of_memory(error) and _is_used_by_others(device)):
            remedy = f"Install a torch build for this GPU ({INSTALL})." if NO_CODE in str(error) else RESET
            yield f"A small matrix product failed: {first_line(error)}. {remedy}"
        return
    if missing is not None:
        yield missing
    if not right:
        yield f"A small matrix product came out wrong. {RESET}"


def _multiplies_rightly(device: torch.device) -> bool:
    left = torch.arange(SIZE * SIZE).remainder(LARGEST_ENTRY + 1).reshape(SIZE, SIZE)
    right = left.flip(0)
    product = torch.matmul(left.to(device, torch.float32), right.to(device, torch.float32))
    return torch.equal(product.cpu().long(), left @ right)


def _memory_errors(library: ModuleType, handle: Handle) -> Iterator[str]:
    uncorrected = library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, library.NVML_VOLATILE_ECC
    errors = nvml.ask(library, library.nvmlDeviceGetTotalEccErrors, handle, *uncorrected)
    if errors:
        yield f"{errors} uncorrected ECC errors since the driver was loaded. {RESET}"
    _, _, pending, failed = nvml.ask(library, library.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
    if failed:
        yield "A row of the GPU's memory could not be remapped: have the card replaced."
    elif pending:
        yield f"Rows of the GPU's memory wait to be remapped. {RESET}"
    if nvml.ask(library, library.nvmlDeviceGetRetiredPagesPendingStatus, handle):
        yield f"Pages of the GPU's memory wait to be retired. {RESET}"


def _recovery_action(library: ModuleType, handle: Handle) -> int | None:
    field = getattr(library, RECOVERY_FIELD, None)
    values = nvml.ask(library, library.nvmlDeviceGetFieldValues, handle, [field]) if field else None
    return int(values[0].value.uiVal) if values and values[0].nvmlReturn == library.NVML_SUCCESS else None


def _unclaimed_bytes(library: ModuleType, device: str) -> int:
    """Bytes in use where the driver names no process; 0 for no more than it keeps itself, or where it does not tell."""
    handle = nvml.ask(library, nvml.handle_of, library, device)
    if handle is None or _named_processes(library, handle) != 0:
        return 0
    memory = nvml.memory_of(library, handle)
    return memory.used_bytes if memory is not None and memory.used_bytes > UNCLAIMED_BYTES else 0


def _is_used_by_others(device: str) -> bool:
    with nvml.opened() as library:
        handle = nvml.ask(library, nvml.handle_of, library, device) if library else None
        return library is not None and handle is not None and bool(_named_processes(library, handle))


def _named_processes(library: ModuleType, handle: Handle) -> int | None:
    """How many the driver names, those that draw included; None where it does not tell."""
    computing = nvml.computing_on(library, handle)
    drawing = nvml.ask(library, library.nvmlDeviceGetGraphicsRunningProcesses, handle) or []
    return None if computing is None else len(computing) + len(drawing)
