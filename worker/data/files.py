"""Files that a client names: looked up inside HALFTIME_DATASETS_DIR and nowhere else."""

import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from halftime.contract.report.failure import FailureCode
from worker.device.device import require_host_memory
from worker.errors import TrialFailed

#: Largest file that is read.
MOST_BYTES = 2 * 2**30


def open_data_file(name: str, directory: Path | None, most_bytes: int = MOST_BYTES) -> BinaryIO:
    """A regular file below the directory, open for reading. Raises TrialFailed (`invalid_data`).

    The kernel walks one part of the name at a time, from the directory it has open, and follows no link: nothing
    that is swapped while it walks can lead it elsewhere. What lies at the end is looked at before it is opened for
    reading: to open a pipe may wait for ever, and to open a device may do something.
    """
    if directory is None:
        raise invalid(name, "needs HALFTIME_DATASETS_DIR, which is not set for this worker")
    *folders, last = name.split("/")
    if any(part in {"", ".", ".."} or "\x00" in part for part in (*folders, last)):
        raise invalid(name, "is no path relative to HALFTIME_DATASETS_DIR")
    with ExitStack() as opened:
        try:
            here = _hold(opened, os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise invalid(name, "cannot be found: the worker's HALFTIME_DATASETS_DIR is no directory") from error
        try:
            for folder in folders:
                here = _hold(opened, os.open(folder, _WALK | os.O_DIRECTORY, dir_fd=here))
            found = _hold(opened, os.open(last, _WALK, dir_fd=here))
            facts = os.fstat(found)
            if not stat.S_ISREG(facts.st_mode):
                raise invalid(name, "is no regular file: links, directories, devices and pipes are not read")
            if facts.st_size > most_bytes:
                raise invalid(name, f"has {facts.st_size:,} bytes; at most {most_bytes:,} are read")
            require_host_memory(facts.st_size)
            # The same file, whatever its name has come to mean meanwhile.
            return Path(f"/proc/self/fd/{found}").open("rb")
        except NotADirectoryError as error:
            raise invalid(name, "leads through something that is no directory; links are not followed") from error
        except OSError as error:
            raise invalid(name, f"cannot be read: {os.strerror(error.errno or 0)}") from error


def invalid(name: str, why: str) -> TrialFailed:
    """The failure of a file, by the name that the client knows it by."""
    return TrialFailed.because(FailureCode.INVALID_DATA, f"The data file {name!r} {why}.")


#: O_PATH: found, not opened. With O_NOFOLLOW a link is found as the link it is.
_WALK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def _hold(opened: ExitStack, descriptor: int) -> int:
    opened.callback(os.close, descriptor)
    return descriptor
