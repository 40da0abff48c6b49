"""Opens files that a client names, only inside HALFTIME_DATASETS_DIR."""

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from halftime.contract.report.failure import FailureCode
from worker.device.device import require_host_memory
from worker.errors import TrialFailed

#: Largest file that is read, in bytes.
MAX_BYTES = 2 * 2**30


def open_data_file(name: str, directory: Path | None, max_bytes: int = MAX_BYTES) -> BinaryIO:
    """Opens a regular file below the directory for reading. Raises TrialFailed (`invalid_data`).

    Opens each component of the path relative to the previous one and follows no links, so that concurrent changes
    cannot redirect it. The type of the last component is checked before it is opened for reading: opening a pipe may
    block forever, and opening a device may have side effects.
    """
    if directory is None:
        raise invalid(name, "cannot be opened: HALFTIME_DATASETS_DIR is not set on this worker")
    *folders, last = name.split("/")
    if any(part in {"", ".", ".."} or "\x00" in part for part in (*folders, last)):
        raise invalid(name, "is not a path relative to HALFTIME_DATASETS_DIR")
    with ExitStack() as opened:
        try:
            here = _hold(opened, os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise invalid(name, "cannot be opened: the worker's HALFTIME_DATASETS_DIR is not a directory") from error
        try:
            for folder in folders:
                here = _hold(opened, os.open(folder, _WALK | os.O_DIRECTORY, dir_fd=here))
            descriptor = _hold(opened, os.open(last, _WALK, dir_fd=here))
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise invalid(name, "is not a regular file: links, directories, devices and pipes are not read")
            if status.st_size > max_bytes:
                raise invalid(name, f"has {status.st_size:,} bytes; the limit is {max_bytes:,}")
            require_host_memory(status.st_size)
            # Reopens the same file, even if its name has been replaced since.
            return Path(f"/proc/self/fd/{descriptor}").open("rb")
        except NotADirectoryError as error:
            raise invalid(name, "has a path component that is not a directory; links are not followed") from error
        except OSError as error:
            raise invalid(name, f"cannot be read: {os.strerror(error.errno or 0)}") from error


def invalid(name: str, why: str) -> TrialFailed:
    """Builds the failure of a file, with the name that the client gave."""
    return TrialFailed.because(FailureCode.INVALID_DATA, f"The data file {name!r} {why}.")


#: O_PATH opens a reference only; with O_NOFOLLOW, a link is opened as the link itself.
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def _hold(opened: ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor
