"""Computes the figures of one leg from its trials."""

import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from halftime.contract.report.report import GradScalerSummary, Leg
from halftime.contract.report.telemetry import GpuTelemetry
from halftime.contract.report.trial import Memory, MemoryBreakdown, TrialResult
from halftime.contract.request.request import BenchmarkConfig
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import KernelSupport, WorkerDevice
from worker.comparison.blocks_in_turns import waiting_cores
from worker.comparison.comparison_run import LegRun, median_step
from worker.comparison.estimates import geometric_mean
from worker.explain.vendor_peaks import vendor_peak
from worker.report.attestation import achieved_flops_per_second
from worker.report.metrics import gains_over_chance
from worker.report.time_by_kind import split_step
from worker.report.warnings.waiting import data_wait_share

log = structlog.get_logger(__name__)

#: Name of the profiled steps among a trial's examinations.
PROFILE = "profile"

Figure = TypeVar("Figure", int, float)


def make_leg(leg: LegRun, config: BenchmarkConfig, device: WorkerDevice) -> Leg:
    """Returns the figures of one leg: medians and means over its trials; null if none succeeded."""
    trials, batch_size = leg.trials, config.training.batch_size
    support = device.support_of(leg.precision)
    kernels = support.kernels if support else None
    peak = vendor_peak(device.gpu, leg.precision)
    if not trials:
        return _empty_leg(leg, kernels, peak)
    memories = [trial.memory for trial in leg.all_trials if trial.memory is not None]
    whole = longest(trials)
    medians = [median_step(trial) for trial in trials]
    step_seconds = statistics.median(medians)
    joules = _joules_per_step(leg.measured_alone)
    achieved = [rate for rate in map(achieved_flops_per_second, leg.measured_alone) if rate is not None]
    made = Leg(
        precision=leg.precision,
        median_step_seconds=step_seconds,
        mean_step_seconds=geometric_mean(medians, config.measurement.min_blocks) if len(medians) > 1 else None,
        training_time_seconds=statistics.fmean(trial.training_time_seconds for trial in whole),
        samples_per_second=batch_size / step_seconds,
        data_wait_share=data_wait_share(trials),
        peak_memory_bytes=_low_median([memory.peak_bytes for memory in memories]),
        first_step_peak_bytes=_low_median([memory.first_step_peak_bytes for memory in memories]),
        peak_reserved_bytes=max((memory.peak_reserved_bytes or 0 for memory in memories), default=0) or None,
        peak_device_bytes=max(_gpu_figure(leg.measured_alone, lambda gpu: gpu.largest_used_bytes), default=None),
        memory_source=memories[0].source if memories else None,
        memory_breakdown=_median_breakdown(memories),
        final_train_loss=None if leg.ended_early_reason else _mean([trial.loss_curve[-1] for trial in whole]),
        validation_loss=_mean([trial.validation_loss for trial in whole]),
        validation_accuracy=_mean([trial.validation_accuracy for trial in whole]),
        validation_metrics={
            name: _mean([trial.metric(name) for trial in whole]) for name in whole[0].validation_metrics
        },
        gains_over_chance=gains_over_chance(whole, config.measurement.min_blocks),
        loss_curve=[_mean(losses) for losses in zip(*(trial.loss_curve for trial in whole), strict=True)],
        grad_scaler=_scaler_summary(leg),
        numerics=leg.measured_alone[0].numerics,
        capacity=leg.capacity,
        achieved_flops_per_second=statistics.median(achieved) if achieved else None,
        ceiling_flops_per_second=max(trial.ceiling_flops_per_second or 0 for trial in leg.measured_alone) or None,
        vendor_peak_flops_per_second=peak,
        joules_per_step=joules,
        joules_per_sample=None if joules is None else joules / batch_size,
        kernels=kernels,
        shortened_trials=sum(trial.ended_early for trial in trials),
        disturbed_trials=sum(bool(trial.disturbances) for trial in trials),
        repeated_trials=sum(trial.repeats for trial in leg.all_trials),
        pick_up_ratio=_pick_up_ratio(trials),
        waiting_cpu_cores=waiting_cores(trials),
        ended_early_reason=leg.ended_early_reason,
        failure=leg.failure,
        survey=leg.survey,
        trials=trials,
    )
    return with_time_by_kind(made, config, device)


def with_time_by_kind(leg: Leg, config: BenchmarkConfig, device: WorkerDevice) -> Leg:
    """Returns the leg with the split of its step, or why there is none."""
    examined = leg.measured_alone()[0]
    if examined.profile is None:
        off = "the request switched the explanation off" if config.explain is False else "it was not profiled"
        return leg.model_copy(update={"time_by_kind_missing": examined.not_examined.get(PROFILE, off)})
    try:
        rows = split_step(leg, examined.profile, device.ceilings, device.kind)
    except Exception as error:  # the figures that were measured stand
        log.exception("step not split")
        return leg.model_copy(update={"time_by_kind_missing": f"an error in Halftime: {type(error).__name__}: {error}"})
    utilisation = _model_flops_utilisation(leg, config.training)
    return leg.model_copy(update={"time_by_kind": rows, "model_flops_utilisation": utilisation})


def _model_flops_utilisation(leg: Leg, training: TrainingConfig) -> float | None:
    """Work of the model per second over the ceiling; None where activation checkpointing repeats some of the work."""
    flops = sum(leg.measured_alone()[0].attestation.multiplied_flops.values())
    if training.activation_checkpointing or not flops or not leg.ceiling_flops_per_second:
        return None
    assert leg.median_step_seconds is not None
    return flops / leg.median_step_seconds / leg.ceiling_flops_per_second


def _pick_up_ratio(trials: Sequence[TrialResult]) -> float | None:
    """Median over slices of the time of their first step relative to that of the steps that are compared."""
    ratios = []
    for trial in trials:
        for one in trial.slices:
            seconds = trial.slice_step_seconds(one)
            ratios.append(seconds[0] / statistics.median(seconds[one.pick_up_steps :]))
    return statistics.median(ratios) if ratios else None


def _gpu_figure(trials: list[TrialResult], figure: Callable[[GpuTelemetry], Figure | None]) -> list[Figure]:
    """Returns the figure of each trial that has it."""
    values = [figure(trial.telemetry.gpu) for trial in trials if trial.telemetry.gpu]
    return [value for value in values if value is not None]


def _joules_per_step(trials: list[TrialResult]) -> float | None:
    """Median over trials; None unless every trial has its energy."""
    energies = _gpu_figure(trials, lambda gpu: gpu.energy_joules)
    if len(energies) < len(trials):
        return None
    return statistics.median(joules / len(trial.step_seconds) for joules, trial in zip(energies, trials, strict=True))


def _scaler_summary(leg: LegRun) -> GradScalerSummary | None:
    """Over the trials of all blocks; the modules that overflowed are searched for where the leg is examined."""
    traces = [trial.grad_scaler for trial in leg.trials if trial.grad_scaler is not None]
    examined = leg.measured_alone[0].grad_scaler
    if not traces or examined is None:
        return None
    return GradScalerSummary(
        initial_scale=traces[0].initial_scale,
        final_scale=traces[-1].final_scale,
        longest_skip_run=max(_longest_run(trace.skipped_steps) for trace in traces),
        skipped_steps=sum(len(trace.skipped_steps) for trace in traces),
        scale_trace=traces[0].scale_trace,
        first_overflow=examined.first_overflow,
    )


def _longest_run(steps: list[int]) -> int:
    """Length of the longest run of consecutive numbers in an ascending list."""
    longest = run = 0
    for index, step in enumerate(steps):
        run = run + 1 if index and step == steps[index - 1] + 1 else 1
        longest = max(longest, run)
    return longest


def longest(trials: list[TrialResult]) -> list[TrialResult]:
    """Returns the trials with the most steps and validation data: losses of shorter ones are not comparable."""
    most = max((len(trial.loss_curve), trial.validation_share) for trial in trials)
    return [trial for trial in trials if (len(trial.loss_curve), trial.validation_share) == most]


def _low_median(values: list[int]) -> int | None:
    return statistics.median_low(values) if values else None


def _median_breakdown(memories: list[Memory]) -> MemoryBreakdown | None:
    """Returns the breakdown of the trial with the median peak: its parts add up to the peak in the leg's figures."""
    ordered = sorted(memories, key=lambda memory: memory.peak_bytes)
    return ordered[(len(ordered) - 1) // 2].breakdown if ordered else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean; None if any value is not finite."""
    finite = [value for value in values if value is not None]
    return statistics.fmean(finite) if finite and len(finite) == len(values) else None


def _empty_leg(leg: LegRun, kernels: KernelSupport | None, peak: float | None) -> Leg:
    figures: dict[str, object] = dict.fromkeys(Leg.model_fields)
    figures |= {"precision": leg.precision, "capacity": leg.capacity, "failure": leg.failure}
    figures |= {"kernels": kernels, "vendor_peak_flops_per_second": peak, "time_by_kind": []}
    figures |= {"shortened_trials": 0, "survey": leg.survey}
    figures |= {"validation_metrics": {}, "gains_over_chance": {}}
    figures |= {"time_by_kind": [], "time_by_kind_missing": "no trial of the leg gave a result"}
    figures |= {"disturbed_trials": 0, "repeated_trials": 0, "loss_curve": [], "trials": []}
    return Leg.model_validate(figures)
