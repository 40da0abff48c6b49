"""One worker to a GPU: a lock on a file that is named for the GPU, in a folder that the workers of a node share.

The kernel frees it when the last process that has it open is gone: the worker's trials are given it too, so that a
trial that outlives its worker for a moment still holds the GPU.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from pathlib import Path
from typing import Protocol

from halftime.contract.resources.worker import WorkerDevice
from worker.device import nvml

#: For whoever runs a worker on the node, whichever user that is.
FOLDER_MODE, FILE_MODE = 0o1777, 0o644


class DeviceTaken(Exception):
    """Another worker of this node owns the GPU."""


class LockUnusable(ValueError):
    """The folder of the locks cannot be used as it is set."""


class _Sent(Protocol):
    """A descriptor on its way to a child process."""

    def detach(self) -> int: ...


class DeviceLock:
    """An open file that is locked. Sent to a child process it is the same lock, not another one."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[..., "DeviceLock"], tuple[object]]:
        return _received, (reduction.DupFd(self.descriptor),)


@contextlib.contextmanager
def owned(device: WorkerDevice, folder: Path) -> Iterator[DeviceLock | None]:
    """Owns a GPU for the length of the block. A CPU is nobody's: several workers may share it, for None.

    Raises DeviceTaken, and LockUnusable for a folder that cannot be used.
    """
    uuid = nvml.uuid_of(device.name)
    if uuid is None:
        yield None
        return
    path = folder / f"{uuid}.lock"
    try:
        descriptor = _opened(path)
    except OSError as error:
        raise LockUnusable(
            f"The lock of {device.name} cannot be opened ({error}). Set HALFTIME_LOCK_DIR to a folder that every "
            "worker of this node can write to, the same for all of them."
        ) from error
    try:
        _lock(descriptor, device, path)
        yield DeviceLock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, device: WorkerDevice, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DeviceTaken(
            f"{device.name} ({device.gpu}) belongs to another worker of this node, or to a trial that is ending: "
            f"`fuser {path}` names it. One worker owns one GPU: give this one another --device."
        ) from error


def _opened(path: Path) -> int:
    """For reading, which a lock needs no more than: the file may be another user's."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(FOLDER_MODE)
    # Not created where it exists: in a folder open to all, the kernel refuses that for another user's file.
    with contextlib.suppress(FileExistsError):
        created = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.fchmod(created, FILE_MODE)
        os.close(created)
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _received(handle: _Sent) -> DeviceLock:
    return DeviceLock(handle.detach())
