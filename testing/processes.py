"""Functions on processes that may end between being listed and being queried."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil


def children(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    """Child processes; none if the process has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=recursive)
    return []


def command(process: psutil.Process) -> list[str]:
    """Arguments of its command line; none if the process has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def child_with(pid: int, argument: str) -> psutil.Process:
    """The one child whose command line has the argument."""
    (child,) = [child for child in children(psutil.Process(pid)) if argument in command(child)]
    return child


def grandchildren(process: psutil.Process) -> list[psutil.Process]:
    """Children of children: a worker's trials are children of its forkserver."""
    return [trial for server in children(process) for trial in children(server)]


def fork_servers(pid: int | None = None) -> list[psutil.Process]:
    """Children that are forkservers, recognised by multiprocessing's name for them."""
    return [child for child in children(psutil.Process(pid)) if "forkserver" in " ".join(command(child))]


def postmaster_of(data_dir: Path) -> psutil.Process:
    """Postmaster of a data directory's embedded PostgreSQL. Raises OSError or psutil.NoSuchProcess if it is down."""
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0]))


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Whether all have ended. A zombie has ended; its parent has not waited for it yet."""
    return all(_ended(process) for process in processes)


def _ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True
