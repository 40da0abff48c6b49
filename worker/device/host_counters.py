"""Counters of the host, read at the start and end of the measured region, never within."""

import contextlib
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from halftime.contract.report.telemetry import HostTelemetry

#: Linux's file system for shared memory.
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 # looked at, not written to

#: Linux's folder with a folder for each thread of this process, named by its id.
THREADS = Path("/proc/self/task")

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
    #: The part of it that a hypervisor took.
    stolen_cpu_seconds: float
    involuntary_context_switches: int
    load_average: float
    #: By id of each of this process's threads, how long it has waited for a core since it began.
    thread_run_delay_seconds: Mapping[int, float] | None

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
            stolen_cpu_seconds=times.get("steal", 0.0),
            involuntary_context_switches=own.ru_nivcsw,
            load_average=os.getloadavg()[0],
            thread_run_delay_seconds=_thread_run_delay_seconds(),
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


def _thread_run_delay_seconds() -> dict[int, float] | None:
    """How long each thread of this process was able to run while other work had the cores; None if unknown.

    A thread's `schedstat` has nanoseconds on a core, nanoseconds on a run queue, and the number of time slices (Linux
    kernel documentation, scheduler/sched-stats). A kernel that keeps no account lacks the file or fills it with zeros.
    """
    accounts: dict[int, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for thread in THREADS.iterdir():
            with contextlib.suppress(OSError, ValueError):  # the thread has ended since, or the file is another's
                on_core, waiting, _ = (thread / "schedstat").read_text().split()
                accounts[int(thread.name)] = int(on_core), int(waiting)
    if not any(on_core for on_core, _ in accounts.values()):
        return None
    return {thread: waiting / 1e9 for thread, (_, waiting) in accounts.items()}


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
    def stolen_cpu_seconds(self) -> float:
        """The part of it that a hypervisor took."""
        return self.end.stolen_cpu_seconds - self.start.stolen_cpu_seconds

    @property
    def preemptions(self) -> int:
        """Times that the kernel preempted the trial's process."""
        return self.end.involuntary_context_switches - self.start.involuntary_context_switches

    @property
    def run_delay_seconds(self) -> float | None:
        """How long that of the trial's threads waited for a core which waited longest; None if unknown.

        Of those alive at the end: threads that compute together wait for the one that comes last.
        """
        before, after = self.start.thread_run_delay_seconds, self.end.thread_run_delay_seconds
        if before is None or after is None:
            return None
        return max((max(0.0, seconds - before.get(thread, 0.0)) for thread, seconds in after.items()), default=0.0)


def host_telemetry(uses: Sequence[HostUse]) -> HostTelemetry:
    """Sums up the measured steps of a trial."""
    seconds = sum(use.seconds for use in uses)
    delays = [use.run_delay_seconds for use in uses if use.run_delay_seconds is not None]
    return HostTelemetry(
        load_average=uses[0].start.load_average,
        foreign_cores=foreign_cores(sum(use.foreign_cpu_seconds for use in uses), seconds),
        cpu_seconds_per_second=sum(use.own_cpu_seconds for use in uses) / seconds,
        involuntary_context_switches=sum(use.preemptions for use in uses),
        run_delay_seconds=sum(delays) if len(delays) == len(uses) else None,
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
