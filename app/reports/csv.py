"""Renders a report as CSV (RFC 4180) in long form: one value per line. Only the JSON has the curves."""

import csv
import io
import json
from collections.abc import Iterator

from app.reports.text.wording import context_lines, headline, other_answers
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice, Explanation, TimeByKind
from halftime.contract.report.figures import (
    Figure,
    Owner,
    Value,
    comparison_figures,
    judged_figure,
    leg_figures,
    trial_figures,
)
from halftime.contract.report.named_legs import NamedLeg, named_legs, ratios_by_block
from halftime.contract.report.report import (
    Comparison,
    Difference,
    Report,
    Requirement,
)
from halftime.contract.report.requirements import requirement_kind
from halftime.contract.report.trial import TrialResult

Row = dict[str, object]

#: Units of what is known of a kind of work; the rest has none.
KIND_UNITS = {"seconds_per_step": "s", "least_flops": "FLOP", "least_bytes": "B"}

#: Columns that do not apply to a line are empty. Blocks count from 1.
COLUMNS = ("section", "leg", "block", "name", "value", "ci_low", "ci_high", "unit", "threshold", "expected", "status")

#: Spreadsheets read text that starts with one of these as a formula (OWASP, "CSV Injection").
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """Renders headline, requirements, figures with intervals, explanation, attestation, environment, conditions and
    warnings.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows({name: _escape_formula(value) for name, value in row.items()} for row in _rows(report))
    return text.getvalue()


def _escape_formula(value: object) -> object:
    """Prefixes text that a spreadsheet would read as a formula with an apostrophe; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_PREFIXES) else value


def _rows(report: Report) -> Iterator[Row]:
    yield {"section": "answer", "name": "benchmark_id", "value": report.benchmark_id}
    yield {"section": "answer", "name": "headline", "value": headline(report), "status": report.verdict}
    for answer in other_answers(report):
        yield {"section": "answer", "name": "further", "value": answer}
    for reason in report.reasons:
        yield {"section": "reason", "value": reason}
    for comparison in report.comparisons:
        yield from _comparison(comparison, report)
    yield from _noise_floor(report)
    for leg in named_legs(report):
        yield from _leg(leg, report)
        if leg.leg.survey:
            yield from _trial({"section": "survey", "leg": leg.name}, leg.leg.survey, report)
        for trial in leg.leg.trials:
            yield from _trial({"section": "trial", "leg": leg.name, "block": trial.block + 1}, trial, report)
    for check in report.attestation.checks:
        outcome = {"value": check.observed, "expected": check.expected, "status": "pass" if check.ok else "fail"}
        yield {"section": "attestation", "leg": check.leg, "name": check.name, **outcome}
    for name, value in (report.environment.model_dump() if report.environment else {}).items():
        yield {"section": "environment", "name": name, "value": value}
    for line in context_lines(report):
        yield {"section": "context", "value": line}
    for warning in report.warnings:
        yield {"section": "warning", "value": warning}


def _comparison(comparison: Comparison, report: Report) -> Iterator[Row]:
    leg = comparison.candidate.precision
    for requirement in comparison.requirements:
        yield {"section": "requirement", "leg": leg, **_requirement(requirement, report)}
    for figure in comparison_figures(report.data).values():
        yield {"section": "comparison", "leg": leg, **_figure(figure, comparison)}
    for name, count in (("pairs", comparison.pairs), ("disturbed_pairs", comparison.disturbed_pairs)):
        if count is not None:
            yield {"section": "comparison", "leg": leg, "name": name, "value": count}
    if comparison.explanation:
        yield from _explanation(leg, comparison.explanation)
    if comparison.explanation_missing:
        yield {"section": "explanation", "leg": leg, "name": "missing", "value": comparison.explanation_missing}
    for block, ratio in ratios_by_block(report.baseline, comparison.candidate):
        yield {"section": "block", "leg": leg, "block": block, "name": "speedup", "value": ratio, "unit": "x"}


def _explanation(leg: str, explanation: Explanation) -> Iterator[Row]:
    """Yields the cause, the bound, and the advice, the most promising first."""
    common: Row = {"section": "explanation", "leg": leg}
    yield {**common, "name": "cause", "value": explanation.cause}
    for name, limit in explanation.bound:
        if limit is not None:
            yield {**common, "name": f"bound.{name}", **_interval(limit), "unit": "x"}
    for advice in explanation.advice:
        yield from _advice({"section": "advice", "leg": leg}, advice)


def _advice(common: Row, advice: Advice) -> Iterator[Row]:
    for name, gain in (("estimated_gain", advice.estimated_gain), ("measured_gain", advice.measured_gain)):
        if gain is not None:
            yield {**common, "name": f"{advice.name}.{name}", **_interval(gain), "unit": "x"}
    request = None if advice.request is None else json.dumps(advice.request)
    texts = {"text": advice.text, "evidence": advice.evidence, "remark": advice.remark, "request": request}
    for name, text in texts.items():
        if text is not None:
            yield {**common, "name": f"{advice.name}.{name}", "value": text}


def _requirement(requirement: Requirement, report: Report) -> Row:
    """Returns the value that is compared with the threshold: for a difference, the absolute one."""
    measured = requirement.measured
    figure = judged_figure(requirement_kind(requirement.name, requirement.metric), report.data)
    return {
        "name": requirement.key,
        **({"value": measured.value} if isinstance(measured, Difference) else _interval(measured)),
        "unit": figure.unit,
        "threshold": requirement.threshold,
        "status": requirement.status,
    }


def _has_row(figure: Figure[Owner], owner: Owner) -> bool:
    return not figure.of_optional_part or figure.read(owner) is not None


def _figure(figure: Figure[Owner], owner: Owner) -> Row:
    return {"name": figure.name, "unit": figure.unit, **_interval(figure.read(owner))}


def _interval(measured: Value) -> Row:
    """Returns a value and, if it has one, its interval; for a difference, the signed mean and its interval."""
    if not isinstance(measured, Estimate | Difference):
        return {"value": measured}
    value = measured.signed_mean if isinstance(measured, Difference) else measured.value
    return {"value": value, "ci_low": measured.ci_low, "ci_high": measured.ci_high}


def _noise_floor(report: Report) -> Iterator[Row]:
    if report.noise_floor is None:
        return
    for name, value in dict(report.noise_floor).items():
        of_metrics = value if isinstance(value, dict) else None
        named = {name: value} if of_metrics is None else {f"{name}.{one}": of_metrics[one] for one in of_metrics}
        for full_name, figure in named.items():
            yield {"section": "noise_floor", "name": full_name, **_interval(figure)}


def _leg(leg: NamedLeg, report: Report) -> Iterator[Row]:
    figures, common = leg.leg, {"section": "leg", "leg": leg.name}
    for figure in leg_figures(report.data).values():
        if _has_row(figure, figures):
            yield {**common, **_figure(figure, figures)}
    if figures.ended_early_reason:
        yield {**common, "name": "ended_early", "value": figures.ended_early_reason}
    if figures.failure:
        yield {**common, "name": "failure", "value": figures.failure.detail, "status": str(figures.failure.code)}
    for time in figures.time_by_kind:
        yield from _time_by_kind(leg.name, time)
    if figures.time_by_kind_missing:
        yield {"section": "time_by_kind", "leg": leg.name, "name": "missing", "value": figures.time_by_kind_missing}
    for part, size_bytes in (figures.memory_breakdown.model_dump() if figures.memory_breakdown else {}).items():
        yield {"section": "memory", "leg": leg.name, "name": part, "value": size_bytes, "unit": "B"}


def _time_by_kind(leg: str, time: TimeByKind) -> Iterator[Row]:
    common = {"section": "time_by_kind", "leg": leg}
    for name, value in time:
        if name not in {"kind", "slowest_operators"}:
            yield {**common, "name": f"{time.kind}.{name}", "value": value, "unit": KIND_UNITS.get(name, "")}
    for operator in time.slowest_operators:
        name = f"{time.kind}.slowest_operators.{operator.name}"
        yield {**common, "name": name, "value": operator.seconds_per_step, "unit": "s"}


def _trial(common: Row, trial: TrialResult, report: Report) -> Iterator[Row]:
    for figure in trial_figures(report.data).values():
        if _has_row(figure, trial):
            yield {**common, **_figure(figure, trial)}
    for disturbance in trial.disturbances:
        yield {**common, "name": "disturbance", "value": disturbance}
