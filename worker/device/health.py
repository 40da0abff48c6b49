"""Checks the health of a device: queries the driver, and computes a matrix product with a known result.

Runs in a process of its own, so that a broken CUDA context ends with it, and a process that hangs can be killed.
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
from worker.errors.out_of_memory import is_out_of_memory
from worker.messages import DeviceCheck, DeviceHealth

#: How long the memory of an ended process may still be held.
SETTLING_SECONDS = 5.0
POLL_SECONDS = 0.25

#: Rows and columns of the matrices; their entries are integers that every precision represents exactly.
SIZE = 256
LARGEST_ENTRY = 3

#: NVML's field for the recovery action that a GPU needs; older drivers and bindings do not have it.
RECOVERY_FIELD = "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"
#: Values that require action on a GPU that is not part of a fabric.
RECOVERY_ACTIONS = {1: "a reset", 2: "a reboot of the node", 4: "a reset", 6: "a reset of its bus", 7: "a reboot"}

#: CUDA's error if torch has no code for the GPU, even if its list of architectures says otherwise.
NO_CODE = "no kernel image is available"

RESET = "Reset the GPU (`nvidia-smi --gpu-reset`) or reboot the node."


def check_device(check: DeviceCheck) -> DeviceHealth:
    """Returns the faults of a device that can be detected."""
    with nvml.opened():  # once for all queries
        faults = [*driver_faults(check.device), *held_memory(check.device)]  # before this process has memory there
        return DeviceHealth(faults=[*faults, *arithmetic_faults(check.device)])


def driver_faults(device: str) -> Iterator[str]:
    """Yields the faults of a GPU that the driver reports."""
    with nvml.opened() as library:
        if library is None or device == "cpu":
            return
        try:
            handle = nvml.handle_of(library, device)
        except library.NVMLError as error:
            yield f"The driver cannot reach the GPU: {error}. {RESET}"
            return
        if handle is None:
            yield f"The driver no longer lists {device}. Check `nvidia-smi` and the kernel's log for Xid errors."
            return
        card = nvml.physical_gpu_of(library, handle)
        yield from _memory_errors(library, card)
        needed = RECOVERY_ACTIONS.get(_recovery_action(library, card) or 0)
        if needed is not None:
            yield f"The driver reports that the GPU needs {needed}. Check the kernel's log for the Xid error."


def held_memory(device: str) -> Iterator[str]:
    """Yields a fault if GPU memory stays in use without a process that the driver lists."""
    with nvml.opened() as library:
        deadline = time.monotonic() + SETTLING_SECONDS
        while held_bytes := _unclaimed_bytes(library, device) if library else 0:
            if time.monotonic() >= deadline:
                yield (
                    f"{held_bytes / 2**20:.0f} MiB of GPU memory stay in use without a process that the driver lists. "
                    f"End the process that holds it, in another container or a zombie. {RESET}"
                )
                return
            time.sleep(POLL_SECONDS)


def arithmetic_faults(device: str) -> Iterator[str]:
    """Yields a fault if a matrix product fails or is wrong, or if torch has no code for the GPU."""
    on_cuda = device != "cpu"
    if on_cuda and torch.version.cuda is None:  # no fault of the device: trials fail with `cuda_unavailable`
        return
    if on_cuda and not torch.cuda.is_available():
        why = why_unavailable() or "no reason given"
        yield f"torch finds no CUDA device: {why}. Check `nvidia-smi`, the driver, and the kernel's log for Xid errors."
        return
    try:
        make_current(torch.device(device))
        missing = missing_code(torch.device(device)) if on_cuda else None
        right = missing is not None or product_is_correct(torch.device(device))
    except RuntimeError as error:
        if not (is_out_of_memory(error) and _has_other_processes(device)):
            remedy = f"Install a torch build for this GPU ({INSTALL})." if NO_CODE in str(error) else RESET
            yield f"A small matrix product failed: {first_line(error)}. {remedy}"
        return
    if missing is not None:
        yield missing
    if not right:
        yield f"A small matrix product had a wrong result. {RESET}"


def product_is_correct(device: torch.device) -> bool:
    """Whether a matrix product of small integers, which FP32 represents exactly, comes out exact."""
    left = torch.arange(SIZE * SIZE).remainder(LARGEST_ENTRY + 1).reshape(SIZE, SIZE)
    right = left.flip(0)
    product = torch.matmul(left.to(device, torch.float32), right.to(device, torch.float32))
    return torch.equal(product.cpu().long(), left @ right)


def _memory_errors(library: ModuleType, handle: Handle) -> Iterator[str]:
    uncorrected = library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, library.NVML_VOLATILE_ECC
    errors = nvml.ask(library, library.nvmlDeviceGetTotalEccErrors, handle, *uncorrected)
    if errors:
        yield f"{errors} uncorrected ECC errors occurred since the driver was loaded. {RESET}"
    _, _, pending, failed = nvml.ask(library, library.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
    if failed:
        yield "Remapping a row of the GPU's memory failed. Replace the GPU."
    elif pending:
        yield f"Rows of the GPU's memory are pending remapping. {RESET}"
    if nvml.ask(library, library.nvmlDeviceGetRetiredPagesPendingStatus, handle):
        yield f"Pages of the GPU's memory are pending retirement. {RESET}"


def _recovery_action(library: ModuleType, handle: Handle) -> int | None:
    field = getattr(library, RECOVERY_FIELD, None)
    values = nvml.ask(library, library.nvmlDeviceGetFieldValues, handle, [field]) if field else None
    return int(values[0].value.uiVal) if values and values[0].nvmlReturn == library.NVML_SUCCESS else None


def _unclaimed_bytes(library: ModuleType, device: str) -> int:
    """Bytes in use without a listed process; 0 if that is within the driver's reserve, or unknown."""
    handle = nvml.ask(library, nvml.handle_of, library, device)
    if handle is None or _process_count(library, handle) != 0:
        return 0
    memory = nvml.memory_of(library, handle)
    return memory.used_bytes if memory is not None and memory.used_bytes > UNCLAIMED_BYTES else 0


def _has_other_processes(device: str) -> bool:
    with nvml.opened() as library:
        handle = nvml.ask(library, nvml.handle_of, library, device) if library else None
        return library is not None and handle is not None and bool(_process_count(library, handle))


def _process_count(library: ModuleType, handle: Handle) -> int | None:
    """Number of compute and graphics processes that the driver lists; None if it does not report them."""
    computing = nvml.compute_processes(library, handle)
    drawing = nvml.ask(library, library.nvmlDeviceGetGraphicsRunningProcesses, handle) or []
    return None if computing is None else len(computing) + len(drawing)
