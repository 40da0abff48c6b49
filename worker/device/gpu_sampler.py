"""Samples the GPU during a trial: a thread queries NVML about ten times a second, without using the device itself.

The foreign function calls release the GIL, so the training loop continues to issue work.
"""

import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TypeVar

from halftime.contract.report.telemetry import GpuTelemetry, Spread
from worker.device import nvml
from worker.device.nvml import Handle

PERIOD_SECONDS = 0.1

#: NVML's energy counter is updated about ten times a second: its two readings together lag by up to a tenth of a region
#: this long. Its accuracy is a separate matter: on A100 and H100 it samples power a quarter of the time (Yang et al.
#: 2024, "Accurate and Convenient Energy Measurements for GPUs").
MIN_ENERGY_REGION_SECONDS = 2.0

#: On Ampere (GA100 aside) and later, NVML's power is the mean of the last second (NVML API reference,
#: `nvmlDeviceGetPowerUsage`): a reading counts once all of that second lies within the region.
POWER_MEAN_SECONDS = 1.0

#: Bits of NVML's clock event reasons (NVML API reference, "nvmlClocksEventReasons").
CLOCK_LIMITS = {
    0x2: "applications_clocks_setting",
    0x4: "power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "thermal_slowdown",
    0x40: "hardware_thermal_slowdown",
    0x80: "power_brake",
}

#: The newer name first; a driver or binding may support only one of the two.
CLOCK_LIMIT_QUESTIONS = ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class GpuUse:
    """The GPU while a trial ran consecutive measured steps."""

    sm_clock_mhz: float | None
    #: Share of samples by reason for which the driver limited clocks.
    clock_limits: dict[str, float]


@dataclass(frozen=True)
class _Place:
    clocks: int
    count: int
    limits: Counter[str]


@dataclass
class _Samples:
    clocks: list[float] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)
    used_bytes: list[int] = field(default_factory=list)
    limits: Counter[str] = field(default_factory=Counter)
    count: int = 0

    def place(self) -> _Place:
        """Returns how many samples there are so far."""
        return _Place(len(self.clocks), self.count, Counter(self.limits))

    def since(self, place: _Place) -> GpuUse:
        """Sums up the samples since then; at least one."""
        clocks, count = self.clocks[place.clocks :], self.count - place.count
        return GpuUse(
            sm_clock_mhz=statistics.median(clocks) if clocks else None,
            clock_limits={name: times / count for name, times in sorted((self.limits - place.limits).items())},
        )


class GpuSampler:
    """Samples one GPU from `start` to `stop`; for a MIG instance, all but the memory is that of the physical GPU."""

    def __init__(self, library: ModuleType, handle: Handle) -> None:
        self._library, self._handle, self._card = library, handle, nvml.physical_gpu_of(library, handle)
        self._samples = _Samples()
        self._stopping, self._sampling = threading.Event(), threading.Event()
        self._part, self._pauses, self._resumed = self._samples.place(), 0, 0.0
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._sample_on, name="sample the GPU", daemon=True)
        self._began: tuple[float, float | None, int | None] = (0.0, None, None)

    def resume(self) -> None:
        """Starts sampling, or goes on after a pause, at the start of consecutive measured steps."""
        self._part, self._resumed = self._samples.place(), time.perf_counter()
        if not self._thread.ident:
            self._began = (time.perf_counter(), self._energy_joules(), self._ecc_errors())
            self._thread.start()
        self._sampling.set()

    def pause(self) -> GpuUse:
        """Takes a last sample and pauses; returns the summary since `resume`."""
        self._sampling.clear()
        self._sample()
        self._pauses += 1
        return self._samples.since(self._part)

    def close(self) -> None:
        """Ends the thread, even if the region did not finish."""
        self._stopping.set()
        self._sampling.set()
        if self._thread.is_alive():
            self._thread.join()

    def stop(self) -> GpuTelemetry:
        """Ends sampling after the last pause, and returns the summary of all parts."""
        seconds = time.perf_counter() - self._began[0]
        energy, errors = self._energy_joules(), self._ecc_errors()
        self.close()
        samples = self._samples
        long_enough = self._pauses == 1 and seconds >= MIN_ENERGY_REGION_SECONDS  # else other legs used energy, too
        return GpuTelemetry(
            samples=samples.count,
            sm_clock_mhz=_spread(samples.clocks),
            temperature_celsius=_spread(samples.temperatures),
            power_watts=_spread(samples.powers),
            clock_limits={name: times / samples.count for name, times in sorted(samples.limits.items())},
            largest_used_bytes=max(samples.used_bytes, default=None),
            held_before_bytes=None,
            foreign_processes=None,
            uncorrected_ecc_errors=_increase(self._began[2], errors),
            energy_joules=_increase(self._began[1], energy) if long_enough else None,
        )

    def _sample_on(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS):
            self._sampling.wait()
            if not self._stopping.is_set():
                self._sample()

    def _sample(self) -> None:
        with self._one_at_a_time:
            self._take_sample()

    def _take_sample(self) -> None:
        library, samples = self._library, self._samples
        samples.count += 1
        self._note(samples.clocks, library.nvmlDeviceGetClockInfo, library.NVML_CLOCK_SM)
        self._note(samples.temperatures, library.nvmlDeviceGetTemperature, library.NVML_TEMPERATURE_GPU)
        if time.perf_counter() - self._resumed >= POWER_MEAN_SECONDS:
            self._note(samples.powers, library.nvmlDeviceGetPowerUsage, per=1000)
        memory = nvml.memory_of(library, self._handle)
        if memory is not None:
            samples.used_bytes.append(memory.used_bytes)
        limits = self._clock_limits()
        samples.limits.update(name for bit, name in CLOCK_LIMITS.items() if limits & bit)

    def _clock_limits(self) -> int:
        """Bits of the active clock limits; 0 if NVML reports none."""
        for name in CLOCK_LIMIT_QUESTIONS:
            question = getattr(self._library, name, None)
            limits = nvml.ask(self._library, question, self._card) if question else None
            if limits is not None:
                return int(limits)
        return 0

    def _energy_joules(self) -> float | None:
        """Reading of the energy counter; None for an instance: the GPU's counter includes other instances."""
        if nvml.is_instance(self._library, self._handle):
            return None
        millijoules = nvml.ask(self._library, self._library.nvmlDeviceGetTotalEnergyConsumption, self._card)
        return None if millijoules is None else millijoules / 1000

    def _ecc_errors(self) -> int | None:
        library = self._library
        uncorrected = library.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, library.NVML_VOLATILE_ECC
        return nvml.ask(library, library.nvmlDeviceGetTotalEccErrors, self._card, *uncorrected)

    def _note(self, into: list[float], question: Callable[..., int], *of: int, per: int = 1) -> None:
        """Appends the reading divided by `per`, if there is one."""
        answer = nvml.ask(self._library, question, self._card, *of)
        if answer is not None:
            into.append(answer / per)


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(smallest=min(values), median=statistics.median(values), largest=max(values))


def _increase(before: Number | None, after: Number | None) -> Number | None:
    return None if before is None or after is None else after - before
