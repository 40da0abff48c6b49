"""The exception that ends a trial with a typed failure, and how an allocation failure is recognised."""

import contextlib
from types import ModuleType

import torch

from halftime.contract.report.failure import Failure, FailureCode

#: How torch, CUDA's driver and libraries and Triton say that memory ran out, where torch has no exception of its own.
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

#: What is said where memory ran out, and also where something else is wrong: it counts where little is left.
PERHAPS_OUT_OF_MEMORY = ("unable to find an engine", "CUBLAS_STATUS_NOT_INITIALIZED")

#: Of a GPU: less leaves no room for the workspaces of cuBLAS and cuDNN.
LITTLE_BYTES = 2**30


class TrialFailed(Exception):
    """A trial that cannot go on, with the typed failure that says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure

    @classmethod
    def because(cls, code: FailureCode, detail: str) -> "TrialFailed":
        """With the failure of this code."""
        return cls(Failure.of(code, detail))


def is_out_of_memory(error: BaseException, cuda: ModuleType = torch.cuda) -> bool:
    """Whether torch, a library of CUDA or Python could not allocate."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = str(error)
    if any(text in said for text in OUT_OF_MEMORY):
        return True
    return any(text in said for text in PERHAPS_OUT_OF_MEMORY) and _little_is_left(cuda)


def _little_is_left(cuda: ModuleType) -> bool:
    """Of the current GPU, or of the share of it that this process may use; not where CUDA is not in use, or does not
    tell."""
    with contextlib.suppress(RuntimeError):
        if cuda.is_initialized():
            free, total = map(int, cuda.mem_get_info())
            allowed = int(cuda.get_per_process_memory_fraction() * total) - int(cuda.memory_reserved())
            return min(free, allowed) < LITTLE_BYTES
    return False
