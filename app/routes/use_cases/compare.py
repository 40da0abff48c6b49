"""Comparison of succeeded benchmarks by their stored reports."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio.to_thread
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.rendering.formats import parse_report
from app.reports.compare import compare, why_not_comparable
from app.routes.use_cases import benchmarks
from app.routes.use_cases.reports import load_report
from app.store.database.connection import Database
from halftime.contract.report.report import Report
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.resources.problem import FieldError


@dataclass(frozen=True)
class LoadedReport:
    """A stored report, and the data that its request asked for."""

    stored: bytes
    data: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A report, and what changed from the baseline report to it.

    `result` is None for the baseline itself, and where the two are not comparable for `reasons`.
    """

    report: Report
    result: ReportComparison | None
    reasons: list[str]


async def compare_two(database: Database, baseline: UUID, contender: UUID) -> ReportComparison:
    """Compares two benchmarks. Raises NotFound, Purged, ReportNotReady, BenchmarkFailed, NotComparable."""
    async with database.reading() as session:
        loaded = [await load(session, baseline), await load(session, contender)]
    return await anyio.to_thread.run_sync(_compare_two, loaded)


async def load(session: AsyncSession, benchmark_id: UUID) -> LoadedReport:
    """Loads the report of a succeeded benchmark. Raises NotFound, Purged, ReportNotReady, BenchmarkFailed."""
    stored = await load_report(session, benchmark_id)
    row = await benchmarks.get(session, benchmark_id)
    return LoadedReport(stored, row.request["config"]["data"])


def compare_with_first(loaded: Sequence[LoadedReport]) -> Iterator[Comparison]:
    """Yields the first report, then the comparison of every other with it.

    Parses each report on demand: with raw samples, several at once may need much memory.
    """
    first, *others = loaded
    baseline = parse_report(first.stored)
    yield Comparison(baseline, None, [])
    for other in others:
        yield _compare_with(first, baseline, other)


def _compare_with(first: LoadedReport, baseline: Report, other: LoadedReport) -> Comparison:
    report = parse_report(other.stored)
    reasons = _reasons_against(first, baseline, other, report)
    return Comparison(report, None if reasons else compare(baseline, report), reasons)


def _compare_two(loaded: Sequence[LoadedReport]) -> ReportComparison:
    _, contender = compare_with_first(loaded)
    if contender.result is None:
        faults = [FieldError(loc="/query/contender", msg=reason, type="not_comparable") for reason in contender.reasons]
        reasons = "; ".join(contender.reasons)
        raise errors.NotComparable(
            f"The two benchmarks do not measure the same work: {reasons}. Choose two of the same request.", faults
        )
    return contender.result


def _reasons_against(ours: LoadedReport, baseline: Report, theirs: LoadedReport, contender: Report) -> list[str]:
    """Returns every reason why two benchmarks do not measure the same work."""
    reasons = why_not_comparable(baseline, contender)
    if ours.data != theirs.data:
        reasons.append(f"they train on different data: {json.dumps(ours.data)} and {json.dumps(theirs.data)}")
    return reasons
