"""The machine around a trial: read at the two ends of the measured region, never within."""

import contextlib
import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from halftime.contract.report.telemetry import HostTelemetry

#: Where Linux keeps what processes share by name.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 # looked at, not written to

#: The kernel counts a machine's CPU time in hundredths of a second; a shorter region says nothing of others' work.
LEAST_REGION_SECONDS = 0.5


@dataclass(frozen=True)
class HostCounters:
    """Counters of this process and of the whole machine, at one moment."""

    at_seconds: float
    #: CPU seconds of this process, all threads, and of the processes it started: its data loader's.
    own_cpu_seconds: float
    #: CPU seconds that anyone used on the machine, or a hypervisor took from it.
    all_cpu_seconds: float
    involuntary_context_switches: int
    load_average: float

    @classmethod
    def now(cls) -> "HostCounters":
        """As they stand."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        times = psutil.cpu_times()._asdict()
        waited = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is in the user's already
        return cls(
            at_seconds=time.perf_counter(),
            own_cpu_seconds=own.ru_utime + own.ru_stime + _children_cpu_seconds(),
            all_cpu_seconds=sum(seconds for kind, seconds in times.items() if kind not in waited),
            involuntary_context_switches=own.ru_nivcsw,
            load_average=os.getloadavg()[0],
        )


def _children_cpu_seconds() -> float:
    """Of those that live and those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def between(start: HostCounters, end: HostCounters) -> HostTelemetry:
    """What happened from one moment to the other."""
    seconds = end.at_seconds - start.at_seconds
    own = end.own_cpu_seconds - start.own_cpu_seconds
    foreign = end.all_cpu_seconds - start.all_cpu_seconds - own
    return HostTelemetry(
        load_average=start.load_average,
        foreign_cores=max(0.0, foreign / seconds) if seconds >= LEAST_REGION_SECONDS else None,
        cpu_seconds_per_second=own / seconds,
        involuntary_context_switches=end.involuntary_context_switches - start.involuntary_context_switches,
    )


def available_host_bytes() -> int | None:
    """What the kernel says the machine has without swapping; None where it does not tell.

    Not what processes can hand to each other: that is `free_shared_bytes`.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def free_shared_bytes(folder: Path = SHARED_MEMORY) -> int | None:
    """What processes here can still put into shared memory, whatever the machine has available.

    It is the room of the file system that this process sees: a container has one of its own, which is small (Docker:
    64 MiB). One without a bound has what the machine has; None where that is not told.
    """
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return 0
    return found.f_bavail * found.f_frsize if found.f_blocks else available_host_bytes()
