"""Detects disturbed trials from the machine's telemetry, never from their duration: that would select results."""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence

from halftime.contract.report.telemetry import GpuTelemetry
from halftime.contract.report.trial import TrialResult

#: Largest accepted share of the machine's cores that other programs keep busy.
MAX_FOREIGN_SHARE = 0.10

#: Smallest accepted clock, CPU time per second, or matrix product rate, relative to the leg's median.
MIN_SHARE_OF_MEDIAN = 0.75

#: Share of a trial's samples with such a clock limit from which on the trial is disturbed. Below it the median step,
#: which is compared, is a step that was not slowed: at most their 53rd percentile instead of the 50th.
MIN_SLOWDOWN_SHARE = 0.05
#: Clock limits by which the GPU protects itself. A power cap is normal under load: reported, but no disturbance.
SLOWDOWNS = frozenset({"hardware_slowdown", "thermal_slowdown", "hardware_thermal_slowdown", "power_brake"})


def disturbances(trial: TrialResult, others: Sequence[TrialResult], cores: int | None = None) -> list[str]:
    """Returns the disturbances of a trial, given the other trials of its leg; empty if there are none."""
    if trial.telemetry.gpu is None:
        return list(_on_the_cpu(trial, others, cores or os.cpu_count() or 1))
    return list(_on_the_gpu(trial.telemetry.gpu, others))


def _on_the_cpu(trial: TrialResult, others: Sequence[TrialResult], cores: int) -> Iterator[str]:
    host = trial.telemetry.host
    ceiling = _median(others, lambda other: other.ceiling_flops_per_second)
    rate = trial.ceiling_flops_per_second
    if ceiling is not None and rate is not None and rate < MIN_SHARE_OF_MEDIAN * ceiling:
        yield f"matrix products after it ran at {rate / 1e9:.1f} GFLOP/s, its leg's usually at {ceiling / 1e9:.1f}"
    if host.foreign_cores is None:  # the region is too short for the kernel's counters
        return
    if host.foreign_cores > MAX_FOREIGN_SHARE * cores:
        yield f"other programs kept {host.foreign_cores:.1f} of {cores} cores busy"
    usual = _median(others, lambda other: other.telemetry.host.cpu_seconds_per_second)
    if usual is not None and host.cpu_seconds_per_second < MIN_SHARE_OF_MEDIAN * usual:
        yield f"it got {host.cpu_seconds_per_second:.2f} CPU seconds per second, its leg usually {usual:.2f}"


def _on_the_gpu(gpu: GpuTelemetry, others: Sequence[TrialResult]) -> Iterator[str]:
    # The first trial of a leg may start on a cold GPU, whose clock is higher than it can sustain.
    usual = _median([other for other in others if other.block > 0], _clock)
    if gpu.sm_clock_mhz and usual is not None and gpu.sm_clock_mhz.median < MIN_SHARE_OF_MEDIAN * usual:
        yield f"the SM clock was {gpu.sm_clock_mhz.median:.0f} MHz, its leg's usually {usual:.0f} MHz"
    for limit in sorted(SLOWDOWNS & gpu.clock_limits.keys()):
        if gpu.clock_limits[limit] >= MIN_SLOWDOWN_SHARE:
            yield f"the GPU reduced its clock: {limit.replace('_', ' ')}"
    for process in gpu.foreign_processes or []:
        yield f"{process}, was on the GPU"
    if gpu.uncorrected_ecc_errors:
        yield f"{gpu.uncorrected_ecc_errors} uncorrected ECC errors"


def _clock(trial: TrialResult) -> float | None:
    gpu = trial.telemetry.gpu
    return gpu.sm_clock_mhz.median if gpu and gpu.sm_clock_mhz else None


def _median(trials: Sequence[TrialResult], figure: Callable[[TrialResult], float | None]) -> float | None:
    values = [value for value in map(figure, trials) if value is not None]
    return statistics.median(values) if values else None
