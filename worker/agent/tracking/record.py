"""A report as trackers take it: settings, figures, series and words, all by flat names."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, JsonValue

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Explanation
from halftime.contract.report.figures import flat
from halftime.contract.report.report import (
    Comparison,
    Difference,
    Leg,
    Report,
)

#: What is no figure of the report as a whole.
APART = {"schema_version", "model", "training", "baseline", "comparisons", "control", "attestation", "environment"}


@dataclass(frozen=True)
class Record:
    """What one run of a tracker holds. The names of a leg's entries begin with the leg's: `bf16/speedup`."""

    benchmark_id: str
    #: By section: model, training, environment, labels.
    settings: dict[str, dict[str, JsonValue]]
    #: Every figure of the report, its interval as `_ci_low` and `_ci_high` beside it.
    figures: dict[str, float]
    #: One entry per training step; null where it was not finite.
    series: dict[str, list[float | None]]
    #: Verdicts, and what else is no number.
    words: dict[str, str]

    @property
    def name(self) -> str:
        """Of the run, for people and for searching."""
        return f"halftime-{self.benchmark_id}"

    def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Every training step, from 0 as in the report's lists, with what is known of it."""
        for step in range(max(map(len, self.series.values()), default=0)):
            values = {name: series[step] for name, series in self.series.items() if step < len(series)}
            yield step, {name: value for name, value in values.items() if value is not None}


def record_of(report: Report, labels: Mapping[str, str]) -> Record:
    """The record of a report."""
    figures = dict(_figures(report, "", APART))
    words = {"benchmark_id": report.benchmark_id, "verdict": report.verdict, "stopped_by": report.stopped_by}
    series: dict[str, list[float | None]] = {}
    for name, leg in legs_of(report).items():
        figures |= _figures(leg, f"{name}/")
        figures |= _kinds(leg, f"{name}/time_by_kind/")
        series |= _series(leg, name)
        words |= {f"{name}/failure": leg.failure.code} if leg.failure else {}
    for comparison in report.comparisons:
        name = _name(comparison, report)
        figures |= _figures(comparison, f"{name}/", {"candidate"})
        words |= _verdicts(comparison, name)
        if comparison.explanation:
            figures |= _gains(comparison.explanation, f"{name}/explanation/")
            words |= {f"{name}/explanation/cause": comparison.explanation.cause}
    return Record(report.benchmark_id, _settings(report, labels), figures, series, words)


def legs_of(report: Report) -> dict[str, Leg]:
    """By names of their own: the baseline, every candidate, the control."""
    candidates = {_name(comparison, report): comparison.candidate for comparison in report.comparisons}
    control = {"control": report.control} if report.control else {}
    return {report.baseline.precision: report.baseline, **candidates, **control}


def _name(comparison: Comparison, report: Report) -> str:
    """Of a candidate: its precision, unless that is the baseline's too."""
    precision = comparison.candidate.precision
    return f"{precision}_candidate" if precision == report.baseline.precision else precision


def _figures(model: BaseModel, prefix: str, without: Container[str] = ()) -> Iterator[tuple[str, float]]:
    """Every number in a model and below; an estimate's value bears the estimate's own name. Lists are left out."""
    for field in type(model).model_fields:
        yield from _numbers(None if field in without else getattr(model, field), prefix + field)


def _numbers(value: object, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, (Estimate, Difference)):
        yield from flat(name, value).items()
    elif isinstance(value, BaseModel):
        yield from _figures(value, f"{name}/")
    elif isinstance(value, dict):  # by the names of metrics
        for key, one in value.items():
            yield from _numbers(one, f"{name}/{key}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, value


def _kinds(leg: Leg, prefix: str) -> Iterator[tuple[str, float]]:
    """Every number of every kind of work."""
    for time in leg.time_by_kind:
        yield from _figures(time, f"{prefix}{time.kind}/")


def _gains(explanation: Explanation, prefix: str) -> Iterator[tuple[str, float]]:
    """The gains of every piece of advice."""
    for advice in explanation.advice:
        yield from _figures(advice, f"{prefix}{advice.name}/", {"request"})


def _series(leg: Leg, name: str) -> dict[str, list[float | None]]:
    scales = leg.grad_scaler.scale_trace if leg.grad_scaler else []
    return {f"{name}/{kind}": curve for kind, curve in (("loss", leg.loss_curve), ("loss_scale", scales)) if curve}


def _verdicts(comparison: Comparison, name: str) -> dict[str, str]:
    judged = {f"{name}/{requirement.key}": requirement.status for requirement in comparison.requirements}
    return {f"{name}/verdict": comparison.verdict, **judged}


def _settings(report: Report, labels: Mapping[str, str]) -> dict[str, dict[str, JsonValue]]:
    return {
        "model": report.model.model_dump(mode="json"),
        "training": report.training.model_dump(mode="json"),
        "environment": report.environment.model_dump(mode="json") if report.environment else {},
        "labels": dict(labels),
    }
