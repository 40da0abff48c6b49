"""Limits of a data loader: the shared memory that its processes use for batches, and the time to wait for a batch."""

import math
import mmap

from torch import Tensor

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.data import LoaderConfig
from halftime.plugin import Batch
from worker.data.batches import map_tensors, tensors_of
from worker.device.host_counters import SHARED_MEMORY, free_shared_bytes
from worker.errors import TrialFailed

#: Batches that each process of a loader prefetches: torch's default.
PREFETCH = 2

#: Shared memory of locks and queues, in pages: in total, and per process.
LOCK_PAGES, LOCK_PAGES_PER_PROCESS = 8, 3

#: Longest wait for a batch. The first batch may have to open files on a slow disk; but a trial may be ended 120 s after
#: its start (worker.comparison), and the cause must be reported before that.
BATCH_TIMEOUT_SECONDS = 90.0

#: torch's message if a loader process died while it wrote to shared memory.
BUS_ERROR = "out of shared memory"
TIMED_OUT = "DataLoader timed out"


def require_shared_memory(loader: LoaderConfig, example: Batch, batch_size: int, steps: int) -> None:
    """Raises TrialFailed (`invalid_data`) when a loader's batches may not fit into shared memory.

    `example` is a batch of any size. Held at once are the prefetched batches and the one in training.
    """
    if loader.workers == 0:
        return
    batch_bytes = sum(_in_pages(tensor.nbytes // len(tensor) * batch_size) for tensor in tensors_of(example))
    batches = min(steps, PREFETCH * loader.workers + 1)
    needed_bytes = batches * batch_bytes + (LOCK_PAGES + LOCK_PAGES_PER_PROCESS * loader.workers) * mmap.PAGESIZE
    free_bytes = free_shared_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise _no_shared_memory(
            f"with workers={loader.workers}, up to {batches} batches of {_mib(batch_bytes)} are in shared memory at "
            f"once, {_mib(needed_bytes)} in total, but {SHARED_MEMORY} has only {_mib(free_bytes)} free.",
            needed_bytes,
        )


def in_shared_memory(batch: Batch) -> Batch:
    """Moves a batch to shared memory, without other data. Raises TrialFailed (`invalid_data`) when it does not fit.

    torch itself would do this later, in a thread whose errors are lost, and the loop would wait forever.
    """
    try:
        return map_tensors(_shared, batch)
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        raise _no_shared_memory(f"a batch did not fit into shared memory: {error}.") from error


def loader_failure(error: RuntimeError) -> Failure | None:
    """Returns the failure that an error of torch's DataLoader stands for; None for any other error."""
    message = str(error)
    if message.startswith(TIMED_OUT):
        return Failure.of(
            FailureCode.INVALID_DATA,
            f"data.loader: no batch arrived within {BATCH_TIMEOUT_SECONDS:.0f} s. The data source hangs in the "
            f"loader's processes or is too slow; shared memory is not the cause ({_free_shared_memory()}). Fix the "
            "source, or use a smaller training.batch_size.",
        )
    if BUS_ERROR in f"{message} {error.__cause__}":  # the error itself reports only that the process died
        return _no_shared_memory(f"a loader process ran out of shared memory ({_free_shared_memory()}).").failure
    return None


def _shared(tensor: Tensor) -> Tensor:
    """Shares a tensor; copies it first if its storage holds more, because torch shares whole storages."""
    own = tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
    shared: Tensor = own.share_memory_()  # type: ignore[no-untyped-call] # missing from torch's annotations
    return shared


def _no_shared_memory(what: str, needed_bytes: int = 0) -> TrialFailed:
    gibibytes = max(1, math.ceil(needed_bytes / 2**30))
    return TrialFailed.because(
        FailureCode.INVALID_DATA,
        f"data.loader: {what} Give the worker more (docker run --shm-size {gibibytes}g; compose: shm_size: "
        f"{gibibytes}gb; Kubernetes: an emptyDir of medium Memory at {SHARED_MEMORY}), or use fewer "
        "data.loader.workers or a smaller training.batch_size.",
    )


def _free_shared_memory() -> str:
    free_bytes = free_shared_bytes()
    return "free space unknown" if free_bytes is None else f"{SHARED_MEMORY} has {_mib(free_bytes)} free"


def _in_pages(size_bytes: int) -> int:
    """Size rounded up to whole pages."""
    return -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
