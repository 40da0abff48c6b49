"""Two reports side by side. Only intervals that the reports hold are combined: nothing is measured here."""

import math
from collections.abc import Iterator

from app.reports.wording import legs_of
from halftime.contract.report.report import Estimate, Leg, Report
from halftime.contract.report.report_comparison import EnvironmentDifference, LegChange, ReportComparison, SpeedupChange
from halftime.contract.report.trial import Environment


def why_not_comparable(baseline: Report, contender: Report) -> list[str]:
    """Every reason in the reports for which the two do not measure the same work; none: they do."""
    return list(_reasons(baseline, contender))


def compare(baseline: Report, contender: Report) -> ReportComparison:
    """What changed from one report to the other, for work that is the same in both."""
    theirs = {leg.precision: leg for leg in legs_of(contender)}
    their_candidates = {found.candidate.precision: found for found in contender.comparisons}
    return ReportComparison(
        baseline_id=baseline.benchmark_id,
        contender_id=contender.benchmark_id,
        baseline_verdict=baseline.verdict,
        contender_verdict=contender.verdict,
        legs=[_leg(leg, theirs[leg.precision]) for leg in _unique_legs(baseline) if leg.precision in theirs],
        speedups=[
            _speedup(found.candidate.precision, found.speedup, their_candidates[found.candidate.precision].speedup)
            for found in baseline.comparisons
            if found.candidate.precision in their_candidates
            and baseline.baseline.precision == contender.baseline.precision
        ],
        environment=list(_environment(baseline.environment, contender.environment)),
        warnings=list(_warnings(baseline, contender)),
    )


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """The ratio of two independent positive figures, with its 95 % interval, from their own intervals.

    The method of variance estimates recovery, on logarithms: the distances from each value to the limits of its
    interval are added as squares (Zou & Donner 2008, Statistics in Medicine 27, 1693-1702).
    """
    value = math.log(above.value / below.value)
    down = math.hypot(math.log(above.value / above.ci_low), math.log(below.ci_high / below.value))
    up = math.hypot(math.log(above.ci_high / above.value), math.log(below.value / below.ci_low))
    return Estimate(value=math.exp(value), ci_low=math.exp(value - down), ci_high=math.exp(value + up))


def _reasons(baseline: Report, contender: Report) -> Iterator[str]:
    for name, report in (("baseline", baseline), ("contender", contender)):
        if report.verdict == "invalid":
            yield f"the report of the {name} is invalid: {'; '.join(report.reasons) or 'it cannot be trusted'}"
    if baseline.model != contender.model:
        yield "they train different models"
    ours, theirs = baseline.training.model_dump(exclude={"seed"}), contender.training.model_dump(exclude={"seed"})
    for name in ours:
        if ours[name] != theirs[name]:
            yield f"training.{name} is {ours[name]} in the baseline and {theirs[name]} in the contender"
    if not {leg.precision for leg in legs_of(baseline)} & {leg.precision for leg in legs_of(contender)}:
        yield "they have no precision in common"


def _unique_legs(report: Report) -> list[Leg]:
    """An A/A run has one precision twice."""
    return list({leg.precision: leg for leg in reversed(legs_of(report))}.values())[::-1]


def _leg(baseline: Leg, contender: Leg) -> LegChange:
    step_time = memory = None
    if baseline.mean_step_seconds and contender.mean_step_seconds:
        step_time = ratio(baseline.mean_step_seconds, contender.mean_step_seconds)
    if baseline.peak_memory_bytes and contender.peak_memory_bytes:
        memory = contender.peak_memory_bytes / baseline.peak_memory_bytes
    return LegChange(
        precision=baseline.precision,
        step_time_ratio=step_time,
        peak_memory_ratio=memory,
        baseline_validation_loss=baseline.validation_loss,
        contender_validation_loss=contender.validation_loss,
    )


def _speedup(candidate: str, baseline: Estimate | None, contender: Estimate | None) -> SpeedupChange:
    change = ratio(contender, baseline) if baseline and contender else None
    return SpeedupChange.model_validate(
        {"candidate": candidate, "baseline": baseline, "contender": contender, "ratio": change}
    )


def _environment(baseline: Environment | None, contender: Environment | None) -> Iterator[EnvironmentDifference]:
    for name in Environment.model_fields:
        ours, theirs = (_fact(environment, name) for environment in (baseline, contender))
        if ours != theirs:
            yield EnvironmentDifference(name=name, baseline=ours, contender=theirs)


def _fact(environment: Environment | None, name: str) -> str | None:
    value = getattr(environment, name, None)
    return None if value is None else str(value)


def _warnings(baseline: Report, contender: Report) -> Iterator[str]:
    if baseline.training.seed != contender.training.seed:
        yield "the seeds differ: losses and accuracies are those of different tasks"
    sources = [report.baseline.memory_source for report in (baseline, contender)]
    if sources[0] != sources[1]:
        yield f"memory was measured in different ways ({sources[0]} and {sources[1]})"
    for name, report in (("baseline", baseline), ("contender", contender)):
        disturbed = sum(leg.disturbed_trials for leg in legs_of(report))
        if disturbed:
            yield f"{disturbed} trials of the {name} were disturbed"
        if any(leg.shortened_trials for leg in legs_of(report)):
            yield f"the {name} trained for fewer steps than it was asked to, for lack of time: losses do not compare"
