"""Data of the comparison page."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.web.drawing import IntervalBar, interval_bars
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.kinds import KindShare, shares_of_step
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import Report, Verdict
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.report.trial import Environment


@dataclass(frozen=True)
class Gain:
    """Gain of one candidate over its report's baseline. Memory in bytes."""

    candidate: PrecisionName
    baseline: PrecisionName
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    baseline_peak_bytes: int | None
    candidate_peak_bytes: int | None


@dataclass(frozen=True)
class Split:
    """Where the time of a leg's step goes, the largest share first."""

    leg: str
    median_step_seconds: float | None
    shares: list[KindShare]


@dataclass(frozen=True)
class ComparedReport:
    """One of the compared reports, with its comparison to the first or the reasons why there is none."""

    benchmark_id: str
    verdict: Verdict
    environment: Environment | None
    gains: list[Gain]
    #: Of every leg that was profiled.
    splits: list[Split]
    comparison: ReportComparison | None
    reasons: list[str]


@dataclass(frozen=True)
class Fact:
    """A fact of the environment that differs between the reports, with the value in each."""

    name: str
    values: list[str]


def compared_report(report: Report, comparison: ReportComparison | None, reasons: list[str]) -> ComparedReport:
    """Extracts what the page shows of a report, so that its raw samples can be freed."""
    gains = [
        Gain(
            pair.candidate.precision,
            report.baseline.precision,
            pair.speedup,
            pair.memory_reduction_percent,
            report.baseline.peak_memory_bytes,
            pair.candidate.peak_memory_bytes,
        )
        for pair in report.comparisons
    ]
    splits = [
        Split(named.name, named.leg.median_step_seconds, shares)
        for named in named_legs(report)
        if (shares := shares_of_step(named.leg.time_by_kind))
    ]
    return ComparedReport(report.benchmark_id, report.verdict, report.environment, gains, splits, comparison, reasons)


def speedup_bars(reports: Sequence[ComparedReport]) -> list[list[IntervalBar | None]]:
    """Returns an interval bar for each gain of each report, all on the same scale."""
    bars = iter(interval_bars([gain.speedup for report in reports for gain in report.gains]))
    return [[next(bars) for _ in report.gains] for report in reports]


def differences(reports: Sequence[ComparedReport]) -> list[Fact]:
    """Returns the facts that are not the same in all environments."""
    environments = [report.environment.model_dump() if report.environment else {} for report in reports]
    rows = {
        name: ["–" if facts.get(name) is None else str(facts[name]) for facts in environments]
        for name in Environment.model_fields
    }
    return [Fact(name, values) for name, values in rows.items() if len(set(values)) > 1]
