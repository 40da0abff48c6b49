"""From trials to the report: every figure derived here, from samples that the report holds too."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.contract.report import (
    AttestationCheck,
    Comparison,
    Difference,
    Estimate,
    GradScalerSummary,
    Leg,
    NoiseFloor,
    Report,
    Requirement,
    RequirementStatus,
    Verdict,
)
from app.contract.request import BenchmarkConfig, Requirements
from app.contract.telemetry import GpuTelemetry
from app.contract.trial import MemoryBreakdown, TrialResult
from worker import comparison as running
from worker.comparison import LegRun, median_step, paired
from worker.proof.attestation import achieved_flops_per_second, attest
from worker.statistics import (
    difference_estimate,
    geometric_mean,
    judge_at_least,
    judge_within,
    noise_floor,
    ratio_estimate,
    reduction_percent,
)
from worker.warnings import data_wait_share, warnings_of

Measured = TypeVar("Measured", Estimate, Difference)
Figure = TypeVar("Figure", int, float)


def make_report(benchmark_id: str, measured: running.Comparison) -> Report:
    """The report of a comparison that has ended."""
    config = measured.request.config
    baseline = make_leg(measured.baseline, config)
    floor = _noise_floor(measured)
    comparisons = [compare_legs(measured, leg, make_leg(leg, config), floor) for leg in measured.candidates]
    attestation = attest(measured)
    verdict, reasons = judge(comparisons, baseline, [check for check in attestation.checks if not check.ok])
    trials = [trial for leg in measured.legs for trial in leg.trials]
    measured_seconds = sum(trial.measured_wall_seconds for trial in trials)
    return Report(
        benchmark_id=benchmark_id,
        verdict=verdict,
        reasons=reasons,
        model=measured.request.model,
        training=measured.request.config.training.resolved(),
        baseline=baseline,
        comparisons=comparisons,
        control=make_leg(measured.control, config) if measured.control else None,
        noise_floor=floor,
        data=trials[0].data,
        blocks=measured.blocks,
        stopped_by=measured.stopped_by,
        attestation=attestation,
        environment=trials[0].environment,
        warnings=warnings_of(measured),
        overhead_seconds=measured.total_seconds - measured_seconds,
        proof_seconds=sum(trial.proof_seconds for trial in trials),
        total_seconds=measured.total_seconds,
    )


def make_leg(leg: LegRun, config: BenchmarkConfig) -> Leg:
    """The figures of one leg: medians and means over its trials; null where none succeeded."""
    trials, batch_size = leg.trials, config.training.batch_size
    if not trials:
        return _empty_leg(leg)
    medians = [median_step(trial) for trial in trials]
    step_seconds = statistics.median(medians)
    joules = _joules_per_step(trials)
    return Leg(
        precision=leg.precision,
        median_step_seconds=step_seconds,
        mean_step_seconds=geometric_mean(medians, config.measurement.min_blocks) if len(medians) > 1 else None,
        training_time_seconds=statistics.fmean(trial.training_time_seconds for trial in trials),
        samples_per_second=batch_size / step_seconds,
        data_wait_share=data_wait_share(trials),
        peak_memory_bytes=round(statistics.median_low([trial.memory.peak_bytes for trial in trials])),
        first_step_peak_bytes=round(statistics.median_low([trial.memory.first_step_peak_bytes for trial in trials])),
        peak_reserved_bytes=max(trial.memory.peak_reserved_bytes or 0 for trial in trials) or None,
        peak_device_bytes=max(_gpu_figure(trials, lambda gpu: gpu.largest_used_bytes), default=None),
        memory_source=trials[0].memory.source,
        memory_breakdown=_median_breakdown(trials),
        final_train_loss=_mean([trial.loss_curve[-1] for trial in trials]),
        validation_loss=_mean([trial.validation_loss for trial in trials]),
        validation_accuracy=_mean([trial.validation_accuracy for trial in trials]),
        loss_curve=[_mean(losses) for losses in zip(*(trial.loss_curve for trial in trials), strict=True)],
        grad_scaler=_scaler_summary(trials),
        numerics=trials[0].numerics,
        capacity=leg.capacity,
        achieved_flops_per_second=statistics.median(map(achieved_flops_per_second, trials)),
        ceiling_flops_per_second=max((trial.ceiling_flops_per_second or 0 for trial in trials), default=0) or None,
        joules_per_step=joules,
        joules_per_sample=None if joules is None else joules / batch_size,
        disturbed_trials=sum(bool(trial.disturbances) for trial in trials),
        repeated_trials=sum(trial.repeats for trial in trials),
        failure=leg.failure,
        trials=trials,
    )


def compare_legs(measured: running.Comparison, run: LegRun, candidate: Leg, floor: NoiseFloor | None) -> Comparison:
    """One candidate against the baseline, block by block."""
    failed = run.failure or measured.baseline.failure
    pairs = [] if failed else paired(measured.baseline, run)
    pilot = measured.request.config.measurement.min_blocks
    speedup = training_time = memory = accuracy = loss = None
    if len(pairs) >= 2:
        speedup = ratio_estimate(*_columns(pairs, median_step), pilot)
        training_time = ratio_estimate(*_columns(pairs, lambda trial: trial.training_time_seconds), pilot)
        memory = reduction_percent(*_columns(pairs, lambda trial: trial.memory.peak_bytes))
        accuracy = difference_estimate(*_columns(pairs, lambda trial: trial.validation_accuracy), pilot)
        loss = difference_estimate(*_columns(pairs, _validation_loss), pilot)
    requirements = judge_requirements(measured.request.requirements, speedup, memory, accuracy, loss)
    return Comparison(
        candidate=candidate,
        speedup=speedup,
        indistinguishable_from_noise=_indistinguishable(speedup, floor),
        training_time_ratio=training_time,
        memory_reduction_percent=memory,
        accuracy_difference=accuracy,
        loss_difference=loss,
        requirements=requirements,
        verdict=_comparison_verdict(measured, run, requirements),
    )


def _comparison_verdict(measured: running.Comparison, run: LegRun, requirements: list[Requirement]) -> Verdict:
    if measured.baseline.failure:
        return "invalid"
    return "fail" if run.failure else worst([requirement.status for requirement in requirements])


def judge_requirements(
    wanted: Requirements,
    speedup: Estimate | None,
    memory: Estimate | None,
    accuracy: Difference | None,
    loss: Difference | None,
) -> list[Requirement]:
    """Every requirement with its own verdict."""
    return [
        _requirement("min_speedup", wanted.min_speedup, speedup, judge_at_least),
        _requirement("min_memory_reduction_percent", wanted.min_memory_reduction_percent, memory, judge_at_least),
        _requirement("max_accuracy_difference", wanted.max_accuracy_difference, accuracy, judge_within),
        _requirement("max_loss_difference", wanted.max_loss_difference, loss, judge_within),
    ]


def worst(statuses: Sequence[RequirementStatus | Verdict]) -> Verdict:
    """fail if any fails, else inconclusive if any is, else pass; what is switched off does not count."""
    if "fail" in statuses:
        return "fail"
    return "inconclusive" if "inconclusive" in statuses else "pass"


def judge(
    comparisons: list[Comparison], baseline: Leg, failed_checks: Sequence[AttestationCheck]
) -> tuple[Verdict, list[str]]:
    """The report's verdict, and in words why it is not `pass`."""
    if failed_checks:
        return "invalid", [
            f"{check.leg}: {check.name} should be {check.expected!r}, but was {check.observed!r}"
            for check in failed_checks
        ]
    if baseline.failure is not None:
        return "invalid", [f"The baseline {baseline.precision} could not be measured: {baseline.failure.detail}"]
    reasons = []
    for comparison in comparisons:
        name = comparison.candidate.precision
        if comparison.candidate.failure is not None:
            reasons.append(f"{name}: {comparison.candidate.failure.title}. {comparison.candidate.failure.detail}")
        reasons += [
            f"{name}: {requirement.name} {requirement.threshold:g} is {_in_words(requirement.status)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"} and requirement.threshold is not None
        ]
    return worst([comparison.verdict for comparison in comparisons]), reasons


def _in_words(status: RequirementStatus) -> str:
    return "not met" if status == "fail" else "undecided: the interval holds the threshold, or there is none"


def _requirement(
    name: str,
    threshold: float | None,
    measured: Measured | None,
    judge_one: Callable[[Measured, float], RequirementStatus],
) -> Requirement:
    status: RequirementStatus = "off"
    if threshold is not None:
        status = "inconclusive" if measured is None else judge_one(measured, threshold)
    met = {"pass": True, "fail": False}.get(status)
    return Requirement.model_validate(
        {"name": name, "threshold": threshold, "measured": measured, "met": met, "status": status}
    )


def _columns(
    pairs: list[tuple[TrialResult, TrialResult]], figure: Callable[[TrialResult], Figure]
) -> tuple[list[Figure], list[Figure]]:
    return [figure(baseline) for baseline, _ in pairs], [figure(candidate) for _, candidate in pairs]


def _validation_loss(trial: TrialResult) -> float:
    assert trial.validation_loss is not None
    return trial.validation_loss


def _noise_floor(measured: running.Comparison) -> NoiseFloor | None:
    trials = measured.baseline.trials
    if len(trials) < 2:
        return None
    pairs = paired(measured.baseline, measured.control) if measured.control else []
    pilot = measured.request.config.measurement.min_blocks
    return NoiseFloor(
        ratio=noise_floor([median_step(trial) for trial in trials]),
        control_ratio=ratio_estimate(*_columns(pairs, median_step), pilot) if len(pairs) >= 2 else None,
        same_seed_loss_spread=_same_seed_spread(pairs, _validation_loss),
        same_seed_accuracy_spread=_same_seed_spread(pairs, lambda trial: trial.validation_accuracy),
        loss_spread=statistics.stdev(_validation_loss(trial) for trial in trials),
        accuracy_spread=statistics.stdev(trial.validation_accuracy for trial in trials),
    )


def _same_seed_spread(
    pairs: list[tuple[TrialResult, TrialResult]], metric: Callable[[TrialResult], float]
) -> float | None:
    """Standard deviation of one run: the difference of two varies twice as much."""
    squares = [(metric(one) - metric(other)) ** 2 for one, other in pairs]
    return math.sqrt(statistics.fmean(squares) / 2) if squares else None


def _gpu_figure(trials: list[TrialResult], figure: Callable[[GpuTelemetry], Figure | None]) -> list[Figure]:
    """Of the trials whose GPU tells it."""
    told = [figure(trial.telemetry.gpu) for trial in trials if trial.telemetry.gpu]
    return [value for value in told if value is not None]


def _joules_per_step(trials: list[TrialResult]) -> float | None:
    """Median over trials; null unless the energy of every one is known."""
    energies = _gpu_figure(trials, lambda gpu: gpu.energy_joules)
    if len(energies) < len(trials):
        return None
    return statistics.median(joules / len(trial.step_seconds) for joules, trial in zip(energies, trials, strict=True))


def _indistinguishable(speedup: Estimate | None, floor: NoiseFloor | None) -> bool | None:
    """Whether the speedup's interval overlaps what identical work shows; a control's, where there is one, as well."""
    if speedup is None or floor is None:
        return None
    floors = [floor.ratio, *([floor.control_ratio] if floor.control_ratio else [])]
    return any(speedup.ci_low <= one.ci_high and one.ci_low <= speedup.ci_high for one in floors)


def _longest_run(steps: list[int]) -> int:
    """Most consecutive numbers in a rising list."""
    longest = run = 0
    for index, step in enumerate(steps):
        run = run + 1 if index and step == steps[index - 1] + 1 else 1
        longest = max(longest, run)
    return longest


def _scaler_summary(trials: list[TrialResult]) -> GradScalerSummary | None:
    traces = [trial.grad_scaler for trial in trials if trial.grad_scaler is not None]
    if not traces:
        return None
    return GradScalerSummary(
        initial_scale=traces[0].initial_scale,
        final_scale=traces[-1].final_scale,
        longest_skip_run=max(_longest_run(trace.skipped_steps) for trace in traces),
        skipped_steps=sum(len(trace.skipped_steps) for trace in traces),
        scale_trace=traces[0].scale_trace,
        first_overflow=traces[0].first_overflow,
    )


def _median_breakdown(trials: list[TrialResult]) -> MemoryBreakdown:
    """Of the trial whose peak is the median: the parts add up to the peak that the leg states."""
    ordered = sorted(trials, key=lambda trial: trial.memory.peak_bytes)
    return ordered[(len(ordered) - 1) // 2].memory.breakdown


def _mean(values: Sequence[float | None]) -> float | None:
    """None if any value is not finite."""
    finite = [value for value in values if value is not None]
    return statistics.fmean(finite) if finite and len(finite) == len(values) else None


def _empty_leg(leg: LegRun) -> Leg:
    figures: dict[str, object] = dict.fromkeys(Leg.model_fields)
    figures |= {"precision": leg.precision, "capacity": leg.capacity, "failure": leg.failure}
    figures |= {"disturbed_trials": 0, "repeated_trials": 0, "loss_curve": [], "trials": []}
    return Leg.model_validate(figures)
