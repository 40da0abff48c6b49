"""Ensures one worker per GPU by a lock on a file named after the GPU, in a folder that the node's workers share.

The kernel releases it when the last process that has the file open ends. The worker passes it to its trials, so that a
trial that briefly outlives its worker still holds the GPU.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from multiprocessing import reduction
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from halftime.contract.resources.worker import WorkerDevice
from worker.device import nvml

#: Permissions that let workers of different users share the folder.
FOLDER_MODE, FILE_MODE = 0o1777, 0o644


class DeviceInUse(Exception):
    """Another worker of this node uses the GPU."""


class LockUnusable(ValueError):
    """The lock folder cannot be used."""


class _Sent(Protocol):
    """A file descriptor that is being sent to a child process."""

    def detach(self) -> int: ...


class DeviceLock:
    """An open, locked file. A child process that receives it shares the same lock."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @override
    def __reduce__(self) -> tuple[Callable[..., "DeviceLock"], tuple[object]]:
        return _received, (reduction.DupFd(self.descriptor),)


@contextlib.contextmanager
def locked(device: WorkerDevice, folder: Path) -> Iterator[DeviceLock | None]:
    """Locks a GPU for the duration of the block. Yields None for a CPU, which several workers may share.

    Raises DeviceTaken, and LockUnusable when the lock file cannot be opened.
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
            f"Could not open the lock file of {device.name} ({error}). Set HALFTIME_LOCK_DIR to one folder that every "
            "worker of this node can write to."
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
        raise DeviceInUse(
            f"{device.name} ({device.gpu}) is in use by another worker of this node, or by a trial that is ending; "
            f"`fuser {path}` shows the process. Choose another --device: each GPU can have only one worker."
        ) from error


def _opened(path: Path) -> int:
    """Opens the file for reading, which suffices for a lock: it may belong to another user."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(FOLDER_MODE)
    # O_EXCL: in a world-writable folder, the kernel refuses O_CREAT on another user's existing file.
    with contextlib.suppress(FileExistsError):
        created = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.fchmod(created, FILE_MODE)
        os.close(created)
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _received(handle: _Sent) -> DeviceLock:
    return DeviceLock(handle.detach())
