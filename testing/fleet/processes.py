"""Resources that a service's processes use: CPU time by part, private memory, open files."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil

MIB = 2**20


@dataclass(frozen=True)
class Parts:
    """Processes of a service, by part."""

    api: psutil.Process
    workers: list[psutil.Process]
    #: The embedded server's first process; its children serve connections.
    postmaster: psutil.Process

    def by_name(self) -> dict[str, list[psutil.Process]]:
        """Processes alive now, by part; PostgreSQL's backends change."""
        return {"api": [self.api], "workers": self.workers, "postgresql": self.postmaster.children()}


def cpu_seconds(parts: Parts) -> dict[str, float]:
    """CPU time used so far, by part."""
    return {name: sum(_cpu_of(process) for process in processes) for name, processes in parts.by_name().items()}


def private_mib(processes: Iterable[psutil.Process]) -> float:
    """Memory that would be free if they all ended: shared memory is not counted."""
    return sum(_private_of(process) for process in processes) / MIB


def open_files(process: psutil.Process) -> int:
    """Files, sockets and pipes that a process has open."""
    return int(process.num_fds())


def _cpu_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _private_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.NoSuchProcess:
        return 0
