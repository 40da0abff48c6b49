"""`/ui/compare`: two to six reports beside each other."""

from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.rendering.formats import parse_report
from app.reports.compare import compare
from app.routes.compare import LoadedReport, load_side, reasons_against
from app.routes.http.auth import Caller, Reader
from app.routes.http.dependencies import DatabaseDep
from app.routes.pages.answer import page
from app.store import benchmarks
from app.store.benchmarks import Filters
from app.store.database.connection import Database
from app.store.resources import model_name, to_item
from app.web import comparison
from halftime.contract.report.report import Report

router = APIRouter(include_in_schema=False)

#: Reports on one page.
FEWEST, MOST = 2, 6

#: Benchmarks to choose from.
ON_OFFER = 100


@router.get("/ui/compare")
async def show_comparison(request: Request, caller: Reader, database: DatabaseDep) -> Response:
    """Compares the benchmarks that `ids` names with the first of them; without `ids`, offers some to choose from."""
    given = list(dict.fromkeys(part for ids in request.query_params.getlist("ids") for part in ids.split(",") if part))
    try:
        wanted = [UUID(one) for one in given]
    except ValueError:
        return await _choice(request, caller, database, given, "That is no benchmark's id.")
    if not FEWEST <= len(wanted) <= MOST:
        fault = f"Choose {FEWEST} to {MOST} benchmarks." if wanted else None
        return await _choice(request, caller, database, given, fault)
    async with database.reading() as session:
        loaded = [await load_side(session, benchmark_id) for benchmark_id in wanted]
        names = await _names(session, wanted)
    sides = await anyio.to_thread.run_sync(_beside, loaded)
    return page(
        request,
        "compare/page.html",
        caller,
        sides=sides,
        names=names,
        marks_of=comparison.speedup_marks(sides),
        differences=comparison.differences(sides),
    )


async def _choice(
    request: Request, caller: Caller, database: Database, given: list[str], fault: str | None
) -> Response:
    async with database.reading() as session:
        rows, _ = await benchmarks.page(session, Filters(["succeeded"]), None, ON_OFFER)
    items = [to_item(row) for row in rows]
    return page(request, "compare/choice.html", caller, 422 if fault else 200, items=items, given=given, fault=fault)


async def _names(session: AsyncSession, wanted: list[UUID]) -> list[str]:
    """What model each is of."""
    rows = [await benchmarks.get(session, benchmark_id) for benchmark_id in wanted]
    return [model_name(row) if row else "" for row in rows]


def _beside(loaded: list[LoadedReport]) -> list[comparison.ComparedReport]:
    """One after the other: raw samples of six reports at once may be much."""
    first = parse_report(loaded[0].stored)
    others = [_against(loaded[0], first, theirs) for theirs in loaded[1:]]
    return [comparison.side(first, None, []), *others]


def _against(ours: LoadedReport, first: Report, theirs: LoadedReport) -> comparison.ComparedReport:
    report = parse_report(theirs.stored)
    reasons = reasons_against(ours, first, theirs, report)
    return comparison.side(report, None if reasons else compare(first, report), reasons)
