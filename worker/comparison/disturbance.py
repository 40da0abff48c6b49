"""Detects disturbed trials from the machine's telemetry, never from their duration: that would select results."""

import itertools
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import psutil

from halftime.contract.report.pairs import fewest_undisturbed
from halftime.contract.report.slices import Slice
from halftime.contract.report.telemetry import GpuTelemetry
from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import LegRun
from worker.comparison.turns import SPIN_SECONDS
from worker.device.host_counters import MIN_REGION_SECONDS, foreign_cores

#: Most repetitions of all trials of a benchmark; on a machine that is always busy, the report has a warning instead.
MAX_TOTAL_REPEATS = 6

#: Largest accepted share of the machine's cores that other programs keep busy.
MAX_FOREIGN_SHARE = 0.10
#: The same where it is known how long threads waited for a core: if they did not, what others did on the cores that
#: were left slows them through caches, memory and clocks alone. Not where two threads of the hardware share a core, and
#: thus its arithmetic.
MAX_FOREIGN_SHARE_BESIDE = 0.50

#: Largest accepted share of a slice that the thread which waited longest for a core waited: threads that compute
#: together wait for the last one. A competitor that shares its core makes it half of the time that the competitor is
#: there; a fifth of the slice leaves most steps, and so the median, which is compared, as they are.
MAX_RUN_DELAY_SHARE = 0.10

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
    yield from _of_the_whole_gpu(gpu)


def of_the_whole_trial(trial: TrialResult) -> list[str]:
    """Returns what disturbed a trial as a whole, not only some of its steps: other work on the GPU, and its errors."""
    return list(_of_the_whole_gpu(trial.telemetry.gpu)) if trial.telemetry.gpu else []


def _of_the_whole_gpu(gpu: GpuTelemetry) -> Iterator[str]:
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


def flag_disturbed_slices(legs: Sequence[LegRun], cores: int | None = None) -> None:
    """Sets the disturbances of every slice of every trial in turns, and of the trials with too many of them.

    Other programs disturb a slice whose threads waited for a core. Where that is unknown, the slices of a round share
    the load: one alone is too short for the kernel's counters of CPU time.
    """
    usual = {leg.name: _usual([one for trial in leg.trials for one in trial.slices]) for leg in legs}
    blocks = sorted({trial.block for leg in legs for trial in leg.trials if trial.slices})
    for block in blocks:
        of_block = [(leg, leg.by_block()[block]) for leg in legs if block in leg.by_block()]
        loads = _loads([trial.slices for _, trial in of_block], cores or os.cpu_count() or 1)
        for leg, trial in of_block:
            _replace(leg, _with_flags(trial, loads, usual[leg.name]))


@dataclass(frozen=True)
class _Usual:
    """Medians over all slices of a leg."""

    sm_clock_mhz: float | None
    cpu_seconds_per_second: float


def _usual(slices: Sequence[Slice]) -> _Usual | None:
    if not slices:
        return None
    clocks = [one.sm_clock_mhz for one in slices if one.sm_clock_mhz is not None]
    return _Usual(
        sm_clock_mhz=statistics.median(clocks) if clocks else None,
        cpu_seconds_per_second=statistics.median(one.own_cpu_seconds / one.seconds for one in slices),
    )


def _loads(of_legs: Sequence[Sequence[Slice]], cores: int) -> list[str | None]:
    """By round, what other programs or a hypervisor did in the slices of all legs, if it is too much.

    Successive rounds are judged together, so many that their time suffices for the kernel's counters: every round is
    judged, whatever its duration.
    """
    loads: list[str | None] = []
    rounds = [[one for one in of_round if one is not None] for of_round in itertools.zip_longest(*of_legs)]
    for window in _windows(rounds):
        loads += [_load(list(itertools.chain(*window)), cores)] * len(window)
    return loads


def _load(slices: Sequence[Slice], cores: int) -> str | None:
    foreign = foreign_cores(sum(one.foreign_cpu_seconds for one in slices), _seconds(slices))
    if foreign is None:  # all slices together are too short for the kernel's counters
        return None
    stolen = sum(one.stolen_cpu_seconds or 0.0 for one in slices) / _seconds(slices)
    if stolen > MAX_FOREIGN_SHARE * cores:
        return f"a hypervisor took {stolen:.1f} of {cores} cores"
    is_delay_known = all(one.run_delay_seconds is not None for one in slices)
    accepted = MAX_FOREIGN_SHARE_BESIDE if is_delay_known and not _cores_are_shared() else MAX_FOREIGN_SHARE
    return f"other programs kept {foreign:.1f} of {cores} cores busy" if foreign > accepted * cores else None


def _cores_are_shared() -> bool:
    """Whether two threads of the hardware share a core; False if that is unknown."""
    return (psutil.cpu_count(logical=False) or math.inf) < (psutil.cpu_count() or 0)


def _windows(rounds: Sequence[list[Slice]]) -> list[list[list[Slice]]]:
    """Groups successive rounds into windows of at least twice the shortest region; the last takes what is left over."""
    windows: list[list[list[Slice]]] = [[]]
    for of_round in rounds:
        if _seconds(itertools.chain(*windows[-1])) >= 2 * MIN_REGION_SECONDS:
            windows.append([])
        windows[-1].append(of_round)
    if len(windows) > 1 and _seconds(itertools.chain(*windows[-1])) < 2 * MIN_REGION_SECONDS:
        windows[-2:] = [windows[-2] + windows[-1]]
    return windows


def _seconds(slices: Iterable[Slice]) -> float:
    return sum(one.seconds for one in slices)


def _with_flags(trial: TrialResult, loads: Sequence[str | None], usual: _Usual | None) -> TrialResult:
    assert usual is not None
    slices = [
        one.model_copy(update={"disturbances": list(_of_slice(one, trial, load, usual))})
        for one, load in zip(trial.slices, loads, strict=False)
    ]
    disturbed = [one.disturbances[0] for one in slices if one.disturbances]
    too_many = len(slices) - len(disturbed) < fewest_undisturbed(len(slices))
    reasons = [f"in {len(disturbed)} of {len(slices)} slices, first {disturbed[0]}"] if too_many else []
    reasons += of_the_whole_trial(trial)
    return trial.model_copy(update={"slices": slices, "disturbances": reasons})


def _of_slice(one: Slice, trial: TrialResult, load: str | None, usual: _Usual) -> Iterator[str]:
    if trial.telemetry.gpu is None:
        yield from _of_the_cores(one, load, usual)
    clock = one.sm_clock_mhz
    if clock is not None and usual.sm_clock_mhz is not None and clock < MIN_SHARE_OF_MEDIAN * usual.sm_clock_mhz:
        yield f"the SM clock was {clock:.0f} MHz, its leg's usually {usual.sm_clock_mhz:.0f} MHz"
    for limit in sorted(SLOWDOWNS & one.clock_limits.keys()):
        if one.clock_limits[limit] >= MIN_SLOWDOWN_SHARE:
            yield f"the GPU reduced its clock: {limit.replace('_', ' ')}"


def _of_the_cores(one: Slice, load: str | None, usual: _Usual) -> Iterator[str]:
    delay_seconds = one.run_delay_seconds or 0.0
    if delay_seconds - SPIN_SECONDS > MAX_RUN_DELAY_SHARE * one.seconds:  # those of the leg before may still spin
        yield f"a thread waited for a CPU core for {delay_seconds / one.seconds:.0%} of the time".replace("%", " %")
    if load is not None:
        yield load
    share = one.own_cpu_seconds / one.seconds
    if share < MIN_SHARE_OF_MEDIAN * usual.cpu_seconds_per_second:
        yield f"it got {share:.2f} CPU seconds per second, its leg usually {usual.cpu_seconds_per_second:.2f}"


def _replace(leg: LegRun, trial: TrialResult) -> None:
    leg.trials = [trial if one.block == trial.block else one for one in leg.trials]
