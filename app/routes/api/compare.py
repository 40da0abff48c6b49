"""`/compare`: what changed between two benchmarks."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app import errors
from app.routes.http.auth import require
from app.routes.http.dependencies import DatabaseDep
from app.routes.use_cases.compare import compare_two
from halftime.contract.report.report_comparison import ReportComparison

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
    """Returns what changed between two reports of the same work, with intervals; 422 with the reasons for others."""
    return await compare_two(database, baseline, contender)
