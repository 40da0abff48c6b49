"""Reports side by side, as a page shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.web.drawing import RangeMark, range_marks
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.report import Estimate, Report, Verdict
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.report.trial import Environment


@dataclass(frozen=True)
class Gain:
    """What one candidate gains over its report's baseline. Memory in bytes."""

    candidate: PrecisionName
    baseline: PrecisionName
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    baseline_peak_bytes: int | None
    candidate_peak_bytes: int | None


@dataclass(frozen=True)
class ComparedReport:
    """One report beside the others, and against the first: compared, or with the reasons why it cannot be."""

    benchmark_id: str
    verdict: Verdict
    environment: Environment | None
    gains: list[Gain]
    comparison: ReportComparison | None
    reasons: list[str]


@dataclass(frozen=True)
class Fact:
    """A fact of the environment that is not the same in all reports, with the value of each."""

    name: str
    values: list[str]


def side(report: Report, comparison: ReportComparison | None, reasons: list[str]) -> ComparedReport:
    """What is shown of a report; its raw samples are not held."""
    gains = [
        Gain(
            found.candidate.precision,
            report.baseline.precision,
            found.speedup,
            found.memory_reduction_percent,
            report.baseline.peak_memory_bytes,
            found.candidate.peak_memory_bytes,
        )
        for found in report.comparisons
    ]
    return ComparedReport(report.benchmark_id, report.verdict, report.environment, gains, comparison, reasons)


def speedup_marks(sides: Sequence[ComparedReport]) -> list[list[RangeMark | None]]:
    """For each side's gains; all on one line."""
    marks = iter(range_marks([gain.speedup for one in sides for gain in one.gains]))
    return [[next(marks) for _ in one.gains] for one in sides]


def differences(sides: Sequence[ComparedReport]) -> list[Fact]:
    """What is not the same in all environments."""
    known = [one.environment.model_dump() if one.environment else {} for one in sides]
    rows = {
        name: ["–" if facts.get(name) is None else str(facts[name]) for facts in known]
        for name in Environment.model_fields
    }
    return [Fact(name, values) for name, values in rows.items() if len(set(values)) > 1]
