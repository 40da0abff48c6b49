"""Two benchmarks against each other."""

import json
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.rendering.formats import parse_report
from app.reports.compare import compare, why_not_comparable
from app.routes.http.auth import require
from app.routes.http.dependencies import DatabaseDep
from app.routes.reports import load_report
from app.store import benchmarks
from halftime.contract.report.report import Report
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.resources.problem import FieldError

router = APIRouter(prefix="/compare", tags=["reports"], dependencies=[require("read")])


@router.get(
    "",
    responses=errors.problem_responses(
        errors.NotFound, errors.Purged, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable
    ),
)
async def compare_benchmarks(
    database: DatabaseDep,
    baseline: Annotated[UUID, Query(description="a succeeded benchmark")],
    contender: Annotated[UUID, Query(description="another of the same work, on another machine or version")],
) -> ReportComparison:
    """Says what changed between two reports of the same work, with intervals; 422 with the reasons if it is not."""
    async with database.reading() as session:
        ours, theirs = await load_side(session, baseline), await load_side(session, contender)
    return await anyio.to_thread.run_sync(_compare, ours, theirs)


@dataclass(frozen=True)
class LoadedReport:
    """What a comparison needs of a benchmark."""

    stored: bytes
    #: The data that the request asked for.
    data: dict[str, Any]


async def load_side(session: AsyncSession, benchmark_id: UUID) -> LoadedReport:
    """Reads a succeeded benchmark. Raises NotFound, Purged, ReportNotReady, BenchmarkFailed."""
    stored = await load_report(session, benchmark_id)
    row = await benchmarks.get(session, benchmark_id)
    assert row is not None
    return LoadedReport(stored, row.request["config"]["data"])


def reasons_against(ours: LoadedReport, baseline: Report, theirs: LoadedReport, contender: Report) -> list[str]:
    """Every reason for which two benchmarks, with their parsed reports, do not measure the same work."""
    reasons = why_not_comparable(baseline, contender)
    if ours.data != theirs.data:
        reasons.append(f"they train on different data: {json.dumps(ours.data)} and {json.dumps(theirs.data)}")
    return reasons


def _compare(ours: LoadedReport, theirs: LoadedReport) -> ReportComparison:
    baseline, contender = parse_report(ours.stored), parse_report(theirs.stored)
    reasons = reasons_against(ours, baseline, theirs, contender)
    if reasons:
        faults = [FieldError(loc="/query/contender", msg=reason, type="not_comparable") for reason in reasons]
        raise errors.NotComparable(f"They do not measure the same work: {'; '.join(reasons)}.", faults)
    return compare(baseline, contender)
