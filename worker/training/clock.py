"""Measures step times without synchronising inside the measured region."""

import itertools
import time
from typing import Protocol

import torch


class StepClock(Protocol):
    """Marks step boundaries during the loop; durations are read after it."""

    def start(self) -> None:
        """Marks the start of the first of consecutive steps, in the device's stream."""

    def mark(self) -> None:
        """Marks the end of a step, which is the start of the next, in the device's stream."""

    def synchronise(self) -> None:
        """Waits for the device; called only where consecutive measured steps begin and end."""

    def step_seconds(self) -> list[float]:
        """Returns the durations between successive marks since each start, in seconds. Call after `synchronise`."""


class CpuClock:
    """Clock of a CPU, where host time is device time."""

    def __init__(self) -> None:
        self._parts: list[list[float]] = []

    def start(self) -> None:
        """Records the time."""
        self._parts.append([time.perf_counter()])

    def mark(self) -> None:
        """Records the time."""
        self._parts[-1].append(time.perf_counter())

    def synchronise(self) -> None:
        """Does nothing: a CPU has no queue."""

    def step_seconds(self) -> list[float]:
        """Returns the durations between marks, in seconds."""
        return [after - before for part in self._parts for before, after in itertools.pairwise(part)]


class CudaClock:
    """Clock of CUDA events, created before the loop; resolution about 0.5 µs (CUDA Runtime API, event management)."""

    def __init__(self, device: torch.device, marks: int) -> None:
        self._device = device
        self._unused = [
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's own
            for _ in range(marks)
        ]
        self._parts: list[list[torch.cuda.Event]] = []

    def start(self) -> None:
        """Records an event in the stream without waiting."""
        self._parts.append([])
        self.mark()

    def mark(self) -> None:
        """Records an event in the stream without waiting."""
        event = self._unused.pop()
        event.record()
        self._parts[-1].append(event)

    def synchronise(self) -> None:
        """Waits until the device has completed all work."""
        torch.cuda.synchronize(self._device)

    def step_seconds(self) -> list[float]:
        """Returns the durations between events, in seconds."""
        return [before.elapsed_time(after) / 1000 for part in self._parts for before, after in itertools.pairwise(part)]


def make_clock(device: torch.device, steps: int) -> StepClock:
    """Creates the clock of a device, with capacity for this many steps, each of which may be the first of a slice."""
    return CudaClock(device, 2 * steps) if device.type == "cuda" else CpuClock()
