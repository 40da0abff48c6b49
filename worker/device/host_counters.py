"""Counters of the host, read at the start and end of the measured region, never within."""

import contextlib
import os
import resource
import time
from collections.abc import Sequence
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
    def now(cls, with_children: bool = True) -> "HostCounters":
        """Reads the counters; those of children take milliseconds on a machine with many processes."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        times = psutil.cpu_times()._asdict()
        waited = ("idle", "iowait", "guest", "guest_nice")  # guest time is already included in user time
        return cls(
            at_seconds=time.monotonic(),
            own_cpu_seconds=own.ru_utime + own.ru_stime + (_children_cpu_seconds() if with_children else 0),
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


@dataclass(frozen=True)
class HostUse:
    """Use of the CPU while a trial ran consecutive measured steps."""

    start: HostCounters
    end: HostCounters

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.end.at_seconds - self.start.at_seconds

    @property
    def own_cpu_seconds(self) -> float:
        """CPU time of the trial's process and its children."""
        return self.end.own_cpu_seconds - self.start.own_cpu_seconds

    @property
    def foreign_cpu_seconds(self) -> float:
        """CPU time of other programs and of a hypervisor."""
        return self.end.all_cpu_seconds - self.start.all_cpu_seconds - self.own_cpu_seconds

    @property
    def preemptions(self) -> int:
        """Times that the kernel preempted the trial's process."""
        return self.end.involuntary_context_switches - self.start.involuntary_context_switches


def host_telemetry(uses: Sequence[HostUse]) -> HostTelemetry:
    """Sums up the measured steps of a trial."""
    seconds = sum(use.seconds for use in uses)
    return HostTelemetry(
        load_average=uses[0].start.load_average,
        foreign_cores=foreign_cores(sum(use.foreign_cpu_seconds for use in uses), seconds),
        cpu_seconds_per_second=sum(use.own_cpu_seconds for use in uses) / seconds,
        involuntary_context_switches=sum(use.preemptions for use in uses),
    )


def foreign_cores(foreign_cpu_seconds: float, seconds: float) -> float | None:
    """Mean number of cores that other programs used; None for a time too short for the kernel's counters."""
    return max(0.0, foreign_cpu_seconds / seconds) if seconds >= MIN_REGION_SECONDS else None


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
