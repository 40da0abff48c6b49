"""The report as CSV (RFC 4180) in long form: one figure a line, whatever it is of. Curves are in the JSON alone."""

import csv
import io
from collections.abc import Iterator

from app.reports.wording import context_lines, headline, other_answers
from halftime.contract.report.figures import COMPARISON_FIGURES, LEG_FIGURES, TRIAL_FIGURES, Figure, Owner, Value
from halftime.contract.report.named_legs import NamedLeg, named_legs, ratios_by_block
from halftime.contract.report.report import Comparison, Difference, Estimate, Report, Requirement
from halftime.contract.report.requirements import REQUIREMENTS
from halftime.contract.report.trial import TrialResult

Row = dict[str, object]

#: What a line is of, its name, and what there is to say of it; empty where there is nothing. Blocks count from 1.
COLUMNS = ("section", "leg", "block", "name", "value", "ci_low", "ci_high", "unit", "threshold", "expected", "status")

#: With these a spreadsheet takes text for a formula (OWASP, "CSV Injection").
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def to_csv(report: Report) -> str:
    """The answer, the requirements with their verdicts, figures with their intervals, proof, environment, warnings."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows({name: _guarded(value) for name, value in row.items()} for row in _rows(report))
    return text.getvalue()


def _guarded(value: object) -> object:
    """Text that no spreadsheet takes for a formula; numbers as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def _rows(report: Report) -> Iterator[Row]:
    yield {"section": "answer", "name": "benchmark_id", "value": report.benchmark_id}
    yield {"section": "answer", "name": "headline", "value": headline(report), "status": report.verdict}
    for answer in other_answers(report):
        yield {"section": "answer", "name": "further", "value": answer}
    for reason in report.reasons:
        yield {"section": "reason", "value": reason}
    for found in report.comparisons:
        yield from _comparison(found, report)
    yield from _noise_floor(report)
    for leg in named_legs(report):
        yield from _leg(leg)
        for trial in leg.leg.trials:
            yield from _trial(leg.name, trial)
    for check in report.attestation.checks:
        told = {"value": check.observed, "expected": check.expected, "status": "pass" if check.ok else "fail"}
        yield {"section": "attestation", "leg": check.leg, "name": check.name, **told}
    for name, value in (report.environment.model_dump() if report.environment else {}).items():
        yield {"section": "environment", "name": name, "value": value}
    for line in context_lines(report):
        yield {"section": "context", "value": line}
    for warning in report.warnings:
        yield {"section": "warning", "value": warning}


def _comparison(found: Comparison, report: Report) -> Iterator[Row]:
    leg = found.candidate.precision
    for requirement in found.requirements:
        yield {"section": "requirement", "leg": leg, "name": requirement.name, **_requirement(requirement)}
    for figure in COMPARISON_FIGURES.values():
        yield {"section": "comparison", "leg": leg, **_figure(figure, found)}
    for block, ratio in ratios_by_block(report.baseline, found.candidate):
        yield {"section": "block", "leg": leg, "block": block, "name": "speedup", "value": ratio, "unit": "x"}


def _requirement(requirement: Requirement) -> Row:
    """The figure that the threshold is for: of a difference, the absolute one."""
    measured = requirement.measured
    return {
        **({"value": measured.value} if isinstance(measured, Difference) else _interval(measured)),
        "unit": COMPARISON_FIGURES[REQUIREMENTS[requirement.name].figure].unit,
        "threshold": requirement.threshold,
        "status": requirement.status,
    }


def _figure(figure: Figure[Owner], owner: Owner) -> Row:
    return {"name": figure.name, "unit": figure.unit, **_interval(figure.read(owner))}


def _interval(measured: Value) -> Row:
    """A value with its interval, where it has one: of a difference the signed one, which the interval belongs to."""
    if not isinstance(measured, Estimate | Difference):
        return {"value": measured}
    value = measured.signed_mean if isinstance(measured, Difference) else measured.value
    return {"value": value, "ci_low": measured.ci_low, "ci_high": measured.ci_high}


def _noise_floor(report: Report) -> Iterator[Row]:
    if report.noise_floor is None:
        return
    for name, value in dict(report.noise_floor).items():
        yield {"section": "noise_floor", "name": name, **_interval(value)}


def _leg(leg: NamedLeg) -> Iterator[Row]:
    one, named = leg.leg, {"section": "leg", "leg": leg.name}
    for figure in LEG_FIGURES.values():
        yield {**named, **_figure(figure, one)}
    if one.failure:
        yield {**named, "name": "failure", "value": one.failure.detail, "status": one.failure.code.value}
    for part, size_bytes in (one.memory_breakdown.model_dump() if one.memory_breakdown else {}).items():
        yield {"section": "memory", "leg": leg.name, "name": part, "value": size_bytes, "unit": "B"}


def _trial(leg: str, trial: TrialResult) -> Iterator[Row]:
    named = {"section": "trial", "leg": leg, "block": trial.block + 1}
    for figure in TRIAL_FIGURES.values():
        yield {**named, **_figure(figure, trial)}
    for disturbance in trial.disturbances:
        yield {**named, "name": "disturbance", "value": disturbance}
