"""What bounds a data loader: the shared memory in which its processes hand over batches, and the patience with them."""

import math
import mmap

from torch import Tensor

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.data import LoaderConfig
from worker.data.source import Batch
from worker.device.host_counters import SHARED_MEMORY, free_shared_bytes
from worker.errors import TrialFailed

#: Batches that each process of a loader makes ahead: torch's own default.
PREFETCH = 2

#: What locks and queues between the processes take, in pages: for all, and for each.
LOCK_PAGES, LOCK_PAGES_PER_PROCESS = 8, 3

#: The longest silence of a loader whose processes live. A first batch may have to open files on a slow disk; but a
#: trial may be ended 120 s after its start (worker.comparison), before which the cause must be told.
PATIENCE_SECONDS = 90.0

#: How torch says that a process of a loader died where it wrote to shared memory.
BUS_ERROR = "out of shared memory"
TIMED_OUT = "DataLoader timed out"


def require_shared_memory(loader: LoaderConfig, example: Batch, batch_size: int, steps: int) -> None:
    """Refuses a loader whose batches may outgrow shared memory. Raises TrialFailed: `invalid_data`.

    `example` is a batch of any size. At once there are those that the processes make ahead, and the one in training.
    """
    if loader.workers == 0:
        return
    batch_bytes = sum(_in_pages(tensor.nbytes // len(tensor) * batch_size) for tensor in example)
    batches = min(steps, PREFETCH * loader.workers + 1)
    needed_bytes = batches * batch_bytes + (LOCK_PAGES + LOCK_PAGES_PER_PROCESS * loader.workers) * mmap.PAGESIZE
    free_bytes = free_shared_bytes()
    if free_bytes is not None and needed_bytes > free_bytes:
        raise _no_room(
            f"with workers={loader.workers}, {batches} batches of {_mib(batch_bytes)} may be in shared memory at once, "
            f"{_mib(needed_bytes)} in all, and {SHARED_MEMORY} has {_mib(free_bytes)} free.",
            needed_bytes,
        )


def in_shared_memory(batch: Batch) -> Batch:
    """The batch where the training loop can read it, and nothing beside it. Raises TrialFailed: `invalid_data`.

    torch itself would put it there later, in a thread whose errors reach nobody: the loop would wait for ever.
    """
    try:
        inputs, targets = map(_shared, batch)
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        raise _no_room(f"a batch found no room in shared memory: {error}.") from error
    return inputs, targets


def loader_failure(error: RuntimeError) -> Failure | None:
    """What it means that torch's DataLoader gave up; None for any other error."""
    said = str(error)
    if said.startswith(TIMED_OUT):
        return Failure.of(
            FailureCode.INVALID_DATA,
            f"data.loader: no batch came within {PATIENCE_SECONDS:.0f} s. The data source hangs in the loader's "
            f"processes, or takes longer for a batch; a lack of shared memory would have been told ({_room()}). Mend "
            "the source, or ask for a smaller training.batch_size.",
        )
    if BUS_ERROR in f"{said} {error.__cause__}":  # the loop that waits says only that the process is gone
        return _no_room(f"a process of the loader died for lack of shared memory ({_room()}).").failure
    return None


def _shared(tensor: Tensor) -> Tensor:
    """torch shares a storage as a whole: of one that holds more than the tensor, a copy of the tensor."""
    own = tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor
    shared: Tensor = own.share_memory_()  # type: ignore[no-untyped-call] # missing from torch's annotations
    return shared


def _no_room(what: str, needed_bytes: int = 0) -> TrialFailed:
    gibibytes = max(1, math.ceil(needed_bytes / 2**30))
    return TrialFailed.because(
        FailureCode.INVALID_DATA,
        f"data.loader: {what} Give the worker more (docker run --shm-size {gibibytes}g; compose: shm_size: "
        f"{gibibytes}gb; Kubernetes: an emptyDir of medium Memory at {SHARED_MEMORY}), or ask for fewer "
        "data.loader.workers or a smaller training.batch_size.",
    )


def _room() -> str:
    free_bytes = free_shared_bytes()
    return "it does not say what it has free" if free_bytes is None else f"{SHARED_MEMORY} has {_mib(free_bytes)} free"


def _in_pages(size_bytes: int) -> int:
    """What a file of this size takes in memory."""
    return -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"
