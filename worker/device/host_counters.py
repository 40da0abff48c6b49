"""Counters of the host, read at the start and end of the measured region, never within."""

import contextlib
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from halftime.contract.report.telemetry import HostTelemetry

#: Linux's file system for shared memory.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 # looked at, not written to

#: Shortest region for which the load of other programs is derived: the kernel counts CPU time in steps of 10 ms.
MIN_REGION_SECONDS = 0.5


@dataclass(frozen=True)
class HostCounters:
    """Counters of this process and of the whole machine at one time."""

    at_seconds: float
    #: CPU seconds of this process (all threads) and of its children, such as a data loader's.
    own_cpu_seconds: float
    #: CPU seconds used by all processes on the machine, or taken by a hypervisor.
    all_cpu_seconds: float
    involuntary_context_switches: int
    load_average: float

    @classmethod
    def now(cls) -> "HostCounters":
        """Reads the counters."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        times = psutil.cpu_times()._asdict()
        waited = ("idle", "iowait", "guest", "guest_nice")  # guest time is already included in user time
        return cls(
            at_seconds=time.perf_counter(),
            own_cpu_seconds=own.ru_utime + own.ru_stime + _children_cpu_seconds(),
            all_cpu_seconds=sum(seconds for kind, seconds in times.items() if kind not in waited),
            involuntary_context_switches=own.ru_nivcsw,
            load_average=os.getloadavg()[0],
        )


def _children_cpu_seconds() -> float:
    """CPU seconds of running and ended children."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def between(start: HostCounters, end: HostCounters) -> HostTelemetry:
    """Derives the host's telemetry from the counters at start and end."""
    seconds = end.at_seconds - start.at_seconds
    own = end.own_cpu_seconds - start.own_cpu_seconds
    foreign = end.all_cpu_seconds - start.all_cpu_seconds - own
    return HostTelemetry(
        load_average=start.load_average,
        foreign_cores=max(0.0, foreign / seconds) if seconds >= MIN_REGION_SECONDS else None,
        cpu_seconds_per_second=own / seconds,
        involuntary_context_switches=end.involuntary_context_switches - start.involuntary_context_switches,
    )


def available_host_bytes() -> int | None:
    """Memory available without swapping (MemAvailable); None if the kernel does not report it.

    For shared memory see `free_shared_bytes`.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def free_shared_bytes(folder: Path = SHARED_MEMORY) -> int | None:
    """Free shared memory.

    This is the free space of the file system that this process sees: a container has its own, which is small (Docker:
    64 MiB). A file system without a limit has the machine's available memory; None if that is unknown.
    """
    try:
        usage = os.statvfs(folder)
    except FileNotFoundError:
        return 0
    return usage.f_bavail * usage.f_frsize if usage.f_blocks else available_host_bytes()
