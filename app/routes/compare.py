"""Two benchmarks against each other."""

from typing import Annotated
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Query

from app import errors
from app.contract.problem import FieldError
from app.contract.report_comparison import ReportComparison
from app.reports.compare import compare, why_not_comparable
from app.routes.callers import require
from app.routes.dependencies import SessionDep
from app.routes.reports import load_report, parse_report

router = APIRouter(prefix="/compare", tags=["reports"], dependencies=[require("read")])


@router.get(
    "",
    responses=errors.problem_responses(
        errors.NotFound, errors.Purged, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable
    ),
)
async def compare_benchmarks(
    session: SessionDep,
    baseline: Annotated[UUID, Query(description="a succeeded benchmark")],
    contender: Annotated[UUID, Query(description="another of the same work, on another machine or version")],
) -> ReportComparison:
    """Says what changed between two reports of the same work, with intervals; 422 with the reasons if it is not."""
    ours, theirs = await load_report(session, baseline), await load_report(session, contender)
    return await anyio.to_thread.run_sync(_compare, ours, theirs)


def _compare(stored_baseline: bytes, stored_contender: bytes) -> ReportComparison:
    baseline, contender = parse_report(stored_baseline), parse_report(stored_contender)
    reasons = why_not_comparable(baseline, contender)
    if reasons:
        faults = [FieldError(loc="/query/contender", msg=reason, type="not_comparable") for reason in reasons]
        raise errors.NotComparable(f"They do not measure the same work: {'; '.join(reasons)}.", faults)
    return compare(baseline, contender)
