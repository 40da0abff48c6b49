"""Compares two reports by combining the intervals that they contain; nothing is measured here."""

import math
from collections.abc import Iterator, Sequence

from app.reports.text.wording import legs_of
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.kinds import shares_of_step
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.report import Leg, Report
from halftime.contract.report.report_comparison import (
    EnvironmentDifference,
    KindChange,
    LegChange,
    MetricChange,
    ReportComparison,
    SpeedupChange,
)
from halftime.contract.report.trial import Environment, metrics_of


def why_not_comparable(baseline: Report, contender: Report) -> list[str]:
    """Lists the reasons why the two reports do not measure the same work; empty if they do."""
    return list(_reasons(baseline, contender))


def compare(baseline: Report, contender: Report) -> ReportComparison:
    """Compares two reports of the same work; legs and candidates of only one of them are left out."""
    contender_legs = {leg.precision: leg for leg in legs_of(contender)}
    contender_speedups = {comparison.candidate.precision: comparison.speedup for comparison in contender.comparisons}
    return ReportComparison(
        baseline_id=baseline.benchmark_id,
        contender_id=contender.benchmark_id,
        baseline_verdict=baseline.verdict,
        contender_verdict=contender.verdict,
        legs=[
            _leg(leg, contender_legs[leg.precision], metrics_of(baseline.data))
            for leg in _unique_legs(baseline)
            if leg.precision in contender_legs
        ],
        speedups=[
            _speedup(precision, comparison.speedup, contender_speedups[precision])
            for comparison in baseline.comparisons
            if (precision := comparison.candidate.precision) in contender_speedups
            and baseline.baseline.precision == contender.baseline.precision
        ],
        environment=list(_environment(baseline.environment, contender.environment)),
        warnings=list(_warnings(baseline, contender)),
    )


def ratio(above: Estimate, below: Estimate) -> Estimate:
    """Returns the ratio of two independent positive estimates with its 95 % interval.

    Uses the method of variance estimates recovery on logarithms: the distances from each value to its interval's
    limits are added in quadrature (Zou & Donner 2008, Statistics in Medicine 27, 1693-1702).
    """
    value = math.log(above.value / below.value)
    down = math.hypot(math.log(above.value / above.ci_low), math.log(below.ci_high / below.value))
    up = math.hypot(math.log(above.ci_high / above.value), math.log(below.value / below.ci_low))
    return Estimate(value=math.exp(value), ci_low=math.exp(value - down), ci_high=math.exp(value + up))


def _reasons(baseline: Report, contender: Report) -> Iterator[str]:
    for name, report in (("baseline", baseline), ("contender", contender)):
        if report.verdict == "invalid":
            yield f"the {name}'s report is invalid: {'; '.join(report.reasons) or 'its comparison cannot be trusted'}"
    if baseline.model != contender.model:
        yield "the models differ"
    baseline_settings, contender_settings = (
        report.training.model_dump(exclude={"seed"}) for report in (baseline, contender)
    )
    for name, setting in baseline_settings.items():
        if setting != contender_settings[name]:
            yield f"training.{name} is {setting} in the baseline and {contender_settings[name]} in the contender"
    if not {leg.precision for leg in legs_of(baseline)} & {leg.precision for leg in legs_of(contender)}:
        yield "the reports have no precision in common"


def _unique_legs(report: Report) -> list[Leg]:
    """Returns one leg per precision: a comparison of a precision with itself has two."""
    return list({leg.precision: leg for leg in reversed(legs_of(report))}.values())[::-1]


def _leg(baseline: Leg, contender: Leg, metrics: Sequence[MetricFacts]) -> LegChange:
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
        metrics=[_metric(metric, baseline, contender) for metric in metrics],
        kinds=_kinds(baseline, contender),
    )


def _metric(metric: MetricFacts, baseline: Leg, contender: Leg) -> MetricChange:
    values = {"baseline": baseline.metric(metric.name), "contender": contender.metric(metric.name)}
    return MetricChange.model_validate(metric.model_dump() | values)


def _kinds(baseline: Leg, contender: Leg) -> list[KindChange]:
    before, after = (
        {one.kind: one.share_of_step for one in shares_of_step(leg.time_by_kind)} for leg in (baseline, contender)
    )
    largest_first = sorted({**before, **after}, key=lambda kind: -max(before.get(kind, 0), after.get(kind, 0)))
    return [
        KindChange(kind=kind, baseline_share=before.get(kind), contender_share=after.get(kind))
        for kind in largest_first
    ]


def _speedup(candidate: str, baseline: Estimate | None, contender: Estimate | None) -> SpeedupChange:
    change = ratio(contender, baseline) if baseline and contender else None
    return SpeedupChange.model_validate(
        {"candidate": candidate, "baseline": baseline, "contender": contender, "ratio": change}
    )


def _environment(baseline: Environment | None, contender: Environment | None) -> Iterator[EnvironmentDifference]:
    for name in Environment.model_fields:
        baseline_value, contender_value = (_fact(environment, name) for environment in (baseline, contender))
        if baseline_value != contender_value:
            yield EnvironmentDifference(name=name, baseline=baseline_value, contender=contender_value)


def _fact(environment: Environment | None, name: str) -> str | None:
    value = getattr(environment, name, None)
    return None if value is None else str(value)


def _warnings(baseline: Report, contender: Report) -> Iterator[str]:
    if baseline.training.seed != contender.training.seed:
        yield "the seeds differ: losses and accuracies belong to different tasks and cannot be compared"
    sources = [report.baseline.memory_source for report in (baseline, contender)]
    if sources[0] != sources[1]:
        yield f"memory was measured by different methods ({sources[0]} and {sources[1]})"
    if baseline.pairing != contender.pairing:
        yield "the legs took turns in one of the reports alone: step times were not measured alike"
    for name, report in (("baseline", baseline), ("contender", contender)):
        disturbed = sum(leg.disturbed_trials for leg in legs_of(report))
        if disturbed:
            yield f"{disturbed} trials of the {name} were disturbed by other activity on the machine"
        if any(leg.shortened_trials for leg in legs_of(report)):
            yield f"the {name} ran out of time before all requested steps: losses cannot be compared"
