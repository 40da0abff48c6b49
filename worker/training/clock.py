"""Step times without a synchronisation inside the measured region."""

import itertools
import time
from typing import Protocol

import torch


class StepClock(Protocol):
    """Marks step boundaries as the loop passes them; durations are read after the loop."""

    def mark(self) -> None:
        """The boundary between two steps, in the device's own order of work."""

    def synchronise(self) -> None:
        """Waits for the device: only at the two ends of the measured region."""

    def step_seconds(self) -> list[float]:
        """Durations between successive marks, in seconds. Call after `synchronise`."""


class CpuClock:
    """The CPU works as it is told: host time is device time."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def mark(self) -> None:
        """Notes the time."""
        self._marks.append(time.perf_counter())

    def synchronise(self) -> None:
        """Nothing is outstanding on a CPU."""

    def step_seconds(self) -> list[float]:
        """Durations between marks."""
        return [after - before for before, after in itertools.pairwise(self._marks)]


class CudaClock:
    """CUDA events, all made before the loop; resolution about 0.5 microseconds (CUDA Runtime API, event management)."""

    def __init__(self, device: torch.device, marks: int) -> None:
        self._device = device
        self._events = [
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's own
            for _ in range(marks)
        ]
        self._marked = 0

    def mark(self) -> None:
        """Records an event in the stream; the host goes on."""
        self._events[self._marked].record()
        self._marked += 1

    def synchronise(self) -> None:
        """Waits for all work of the device."""
        torch.cuda.synchronize(self._device)

    def step_seconds(self) -> list[float]:
        """Durations between events."""
        events = self._events[: self._marked]
        return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(events)]


def make_clock(device: torch.device, marks: int) -> StepClock:
    """The clock of a device, with room for this many marks."""
    return CudaClock(device, marks) if device.type == "cuda" else CpuClock()
