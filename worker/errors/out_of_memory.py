"""Recognises a failed allocation: of torch, of a CUDA library, or of the host."""

import contextlib
from types import ModuleType

import torch

#: Messages with which torch, CUDA's driver and libraries, and Triton report out of memory in a plain RuntimeError.
OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",  # cuDNN 9
    "INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
)

#: Messages that have several causes: they mean out of memory if little memory is left.
POSSIBLY_OUT_OF_MEMORY = ("unable to find an engine", "CUBLAS_STATUS_NOT_INITIALIZED")

#: Free GPU memory below which the workspaces of cuBLAS and cuDNN may not fit.
LOW_MEMORY_BYTES = 2**30


def is_out_of_memory(error: BaseException, cuda: ModuleType = torch.cuda) -> bool:
    """Whether an error of torch, a CUDA library or Python means that memory ran out."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    message = str(error)
    if any(text in message for text in OUT_OF_MEMORY):
        return True
    return any(text in message for text in POSSIBLY_OUT_OF_MEMORY) and _memory_is_low(cuda)


def _memory_is_low(cuda: ModuleType) -> bool:
    """Whether the current GPU, or this process's share of it, has less than 1 GiB free; False if CUDA is not in use."""
    with contextlib.suppress(RuntimeError):
        if cuda.is_initialized():
            free, total = map(int, cuda.mem_get_info())
            allowed = int(cuda.get_per_process_memory_fraction() * total) - int(cuda.memory_reserved())
            return min(free, allowed) < LOW_MEMORY_BYTES
    return False
