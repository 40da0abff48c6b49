"""What spoils a trial. Judged by what the machine did, never by how long the trial took: that would choose results."""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence

from halftime.contract.report.telemetry import GpuTelemetry
from halftime.contract.report.trial import TrialResult

#: Other programs may keep this share of the machine's cores busy.
FOREIGN_SHARE = 0.10

#: A clock, a share of CPU time, or the speed of a matrix product may fall to this share of the leg's median.
LEAST_SHARE_OF_MEDIAN = 0.75

#: The GPU protects itself; a power cap is how it runs under load, and is told of but spoils nothing.
#: A trial is spoiled by them from this share of its samples on. What is judged is the median step: with a twentieth of
#: the steps slowed it lies among the others still, at their 53rd percentile instead of the 50th.
LEAST_SLOWDOWN_SHARE = 0.05
SLOWDOWNS = frozenset({"hardware_slowdown", "thermal_slowdown", "hardware_thermal_slowdown", "power_brake"})


def disturbances(trial: TrialResult, others: Sequence[TrialResult], cores: int | None = None) -> list[str]:
    """Why a trial may be spoiled, in words, given the other trials of its leg; empty for a quiet one."""
    if trial.telemetry.gpu is None:
        return list(_on_the_cpu(trial, others, cores or os.cpu_count() or 1))
    return list(_on_the_gpu(trial.telemetry.gpu, others))


def _on_the_cpu(trial: TrialResult, others: Sequence[TrialResult], cores: int) -> Iterator[str]:
    host = trial.telemetry.host
    ceiling = _median(others, lambda other: other.ceiling_flops_per_second)
    found = trial.ceiling_flops_per_second
    if ceiling is not None and found is not None and found < LEAST_SHARE_OF_MEDIAN * ceiling:
        yield f"right after it the machine multiplied at {found / 1e9:.1f} GFLOP/s, otherwise at {ceiling / 1e9:.1f}"
    if host.foreign_cores is None:  # too short for the kernel's counters
        return
    if host.foreign_cores > FOREIGN_SHARE * cores:
        yield f"other programs kept {host.foreign_cores:.1f} of {cores} cores busy"
    usual = _median(others, lambda other: other.telemetry.host.cpu_seconds_per_second)
    if usual is not None and host.cpu_seconds_per_second < LEAST_SHARE_OF_MEDIAN * usual:
        yield f"it got {host.cpu_seconds_per_second:.2f} CPU seconds per second, its leg {usual:.2f}"


def _on_the_gpu(gpu: GpuTelemetry, others: Sequence[TrialResult]) -> Iterator[str]:
    # The first trial of a leg may have found a cold GPU, whose clock is higher than it can stay.
    usual = _median([other for other in others if other.block > 0], _clock)
    if gpu.sm_clock_mhz and usual is not None and gpu.sm_clock_mhz.median < LEAST_SHARE_OF_MEDIAN * usual:
        yield f"the SM clock was {gpu.sm_clock_mhz.median:.0f} MHz, its leg's {usual:.0f} MHz"
    for limit in sorted(SLOWDOWNS & gpu.clock_limits.keys()):
        if gpu.clock_limits[limit] >= LEAST_SLOWDOWN_SHARE:
            yield f"the GPU slowed itself: {limit.replace('_', ' ')}"
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
