"""Builds the report: derives every figure from samples that the report also contains."""

import math
from collections.abc import Callable
from typing import TypeVar

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.pairs import counted_pairs, slice_pairs
from halftime.contract.report.report import (
    Comparison,
    Difference,
    Leg,
    NoiseFloor,
    Report,
    Requirement,
    Verdict,
)
from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import ComparisonRun, LegRun, log_ratios, median_step, paired
from worker.comparison.estimates import noise_floor, noise_floor_in_turns, ratio_estimate, reduction_percent
from worker.explain.advice.measured import with_measured
from worker.report.attestation import attest, unproven
from worker.report.explanation import with_explanation
from worker.report.legs import longest, make_leg
from worker.report.metrics import equally_trained, metric_differences, same_seed_spreads, spreads
from worker.report.verdicts import judge, judge_requirements, worst
from worker.report.warnings import warnings_of

Figure = TypeVar("Figure", int, float)


def make_report(benchmark_id: str, measured: ComparisonRun) -> Report:
    """Builds the report of a finished comparison."""
    config = measured.request.config
    baseline = make_leg(measured.baseline, config, measured.device)
    floor = _noise_floor(measured)
    candidates = [make_leg(leg, config, measured.device) for leg in measured.candidates]
    comparisons = [
        compare_legs(measured, run, baseline, leg, floor)
        for run, leg in zip(measured.candidates, candidates, strict=True)
    ]
    attestation = attest(measured)
    verdict, reasons = judge(comparisons, baseline, [check for check in attestation.checks if not check.ok])
    if verdict == "invalid":  # then no candidate passes
        comparisons = [comparison.model_copy(update={"verdict": verdict}) for comparison in comparisons]
    reasons += [f"{leg.name}: {why}" for leg in measured.legs for why in unproven(leg)]
    trials = [trial for leg in measured.legs for trial in leg.all_trials]
    measured_seconds = sum(trial.measured_wall_seconds for trial in trials)
    return Report(
        benchmark_id=benchmark_id,
        verdict=verdict,
        reasons=reasons,
        model=measured.request.model,
        training=measured.request.config.training.resolved(),
        adapters=measured.request.config.adapters,
        baseline=baseline,
        comparisons=comparisons,
        control=make_leg(measured.control, config, measured.device) if measured.control else None,
        noise_floor=floor,
        data=trials[0].data,
        blocks=measured.blocks,
        reused_blocks=sum(kept.block.pairing != "survey" for kept in measured.reused),
        stopped_by=measured.stopped_by,
        pairing=measured.pairing or "trials",
        pairing_reason=measured.pairing_reason,
        turns=measured.turns_plan,
        attestation=attestation,
        environment=trials[0].environment,
        ceilings=measured.device.ceilings,
        warnings=warnings_of(measured),
        overhead_seconds=measured.total_seconds - measured_seconds,
        proof_seconds=sum(trial.proof_seconds for trial in trials),
        total_seconds=measured.total_seconds,
    )


def compare_legs(
    measured: ComparisonRun, run: LegRun, baseline: Leg, candidate: Leg, floor: NoiseFloor | None
) -> Comparison:
    """Compares one candidate with the baseline over the blocks in which both have a trial."""
    failed = run.failure or measured.baseline.failure
    pairs = [] if failed else paired(measured.baseline, run)
    pilot = measured.request.config.measurement.min_blocks
    speedup = training_time = memory = None
    differences: dict[str, Difference] = {}
    if len(pairs) >= 2:
        speedup = ratio_estimate(log_ratios(pairs), pilot)
    surveys = [(measured.baseline.survey, run.survey)] if measured.baseline.survey and run.survey else []
    with_memory = [(one, other) for one, other in [*surveys, *pairs] if one.memory and other.memory]
    if len(with_memory) >= (1 if surveys else 2):
        memory = reduction_percent(*_columns(with_memory, _peak_bytes))
    comparable = [pair for pair in pairs if equally_trained(*pair)]
    if len(comparable) >= 2:
        training_time = ratio_estimate(_log_training_times(comparable), pilot)
        differences = metric_differences(comparable, pilot)
    in_turns = measured.pairing == "turns"
    taken = [slice_pairs(one, other) for one, other in pairs]
    counted = [counted_pairs(of_block) for of_block in taken]
    compared = Comparison(
        candidate=candidate,
        speedup=speedup,
        pairs=sum(map(len, counted)) if in_turns else None,
        disturbed_pairs=sum(map(len, taken)) - sum(map(len, counted)) if in_turns else None,
        speedup_of_one_block=math.exp(log_ratios(pairs)[0]) if len(pairs) == 1 else None,
        indistinguishable_from_noise=_indistinguishable(speedup, floor),
        training_time_ratio=training_time,
        memory_reduction_percent=memory,
        accuracy_difference=differences.pop("accuracy", None),
        loss_difference=differences.pop("loss", None),
        metric_differences=differences,
        requirements=[],
        verdict="inconclusive",
    )
    compared = _with_measured_gains(with_explanation(compared, baseline, measured.request, measured.device), run)
    requirements = judge_requirements(measured.request.requirements, compared, baseline)
    verdict = _comparison_verdict(measured, run, requirements)
    return compared.model_copy(update={"requirements": requirements, "verdict": verdict})


def advice_by_candidate(measured: ComparisonRun) -> dict[str, list[Advice]]:
    """The advice on each candidate, by the leg's name, as the report gives it."""
    explanations = [compared.explanation for compared in make_report("", measured).comparisons]
    return {
        leg.name: explanation.advice
        for leg, explanation in zip(measured.candidates, explanations, strict=True)
        if explanation is not None
    }


def _with_measured_gains(compared: Comparison, run: LegRun) -> Comparison:
    if compared.explanation is None:
        return compared
    advice = with_measured(compared.explanation.advice, run.verified)
    return compared.model_copy(update={"explanation": compared.explanation.model_copy(update={"advice": advice})})


def _comparison_verdict(measured: ComparisonRun, run: LegRun, requirements: list[Requirement]) -> Verdict:
    if measured.baseline.failure:
        return "invalid"
    if run.failure and run.failure.code is FailureCode.TIME_BUDGET:
        return "inconclusive"
    if run.failure:
        return "fail"
    verdict = worst([requirement.status for requirement in requirements])
    return "inconclusive" if verdict == "pass" and (unproven(measured.baseline) or unproven(run)) else verdict


def _log_training_times(pairs: list[tuple[TrialResult, TrialResult]]) -> list[float]:
    return [math.log(one.training_time_seconds / other.training_time_seconds) for one, other in pairs]


def _columns(
    pairs: list[tuple[TrialResult, TrialResult]], figure: Callable[[TrialResult], Figure]
) -> tuple[list[Figure], list[Figure]]:
    return [figure(baseline) for baseline, _ in pairs], [figure(candidate) for _, candidate in pairs]


def _peak_bytes(trial: TrialResult) -> int:
    assert trial.memory is not None
    return trial.memory.peak_bytes


def _noise_floor(measured: ComparisonRun) -> NoiseFloor | None:
    trials = measured.baseline.trials
    if len(trials) < 2:
        return None
    pairs = paired(measured.baseline, measured.control) if measured.control else []
    same_seed = same_seed_spreads([pair for pair in pairs if equally_trained(*pair)])
    over_seeds = spreads(longest(trials))
    pilot = measured.request.config.measurement.min_blocks
    return NoiseFloor(
        ratio=_floor_ratio(measured),
        control_ratio=ratio_estimate(log_ratios(pairs), pilot) if len(pairs) >= 2 else None,
        same_seed_loss_spread=same_seed.pop("loss", None),
        same_seed_accuracy_spread=same_seed.pop("accuracy", None),
        loss_spread=over_seeds.pop("loss", None),
        accuracy_spread=over_seeds.pop("accuracy", None),
        same_seed_metric_spreads=same_seed,
        metric_spreads=over_seeds,
    )


def _floor_ratio(measured: ComparisonRun) -> Estimate:
    """From the spread of the baseline's trials; if legs took turns, from that of the blocks' ratios.

    In turns the machine's drift, which is in the trials' own times, is not in their ratios.
    """
    if measured.pairing == "turns":
        legs = [leg for leg in measured.legs[1:] if leg.failure is None]
        whole = [leg for leg in legs if not leg.ended_early_reason] or legs  # others have few pairs
        ratios = [log_ratios(paired(measured.baseline, leg)) for leg in whole]
        with_spread = [of_leg for of_leg in ratios if len(of_leg) >= 2]
        if with_spread:
            return noise_floor_in_turns(with_spread)
    return noise_floor([median_step(trial) for trial in measured.baseline.trials])


def _indistinguishable(speedup: Estimate | None, floor: NoiseFloor | None) -> bool | None:
    """Whether the speedup's interval overlaps the noise floor's, or the control leg's if there is one."""
    if speedup is None or floor is None:
        return None
    floors = [floor.ratio, *([floor.control_ratio] if floor.control_ratio else [])]
    return any(speedup.ci_low <= one.ci_high and one.ci_low <= speedup.ci_high for one in floors)
