"""`/ui/compare`: two to six reports side by side."""

from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.routes.http.auth import Caller, Reader
from app.routes.http.dependencies import DatabaseDep
from app.routes.pages.response import page
from app.routes.use_cases import benchmarks as use_cases
from app.routes.use_cases.compare import Comparison, LoadedReport, compare_with_first, load
from app.store import benchmarks
from app.store.benchmarks import Filters
from app.store.database.connection import Database
from app.store.resources import model_name, to_item
from app.web import comparison

router = APIRouter(include_in_schema=False)

#: Least and most reports on one page.
FEWEST, MOST = 2, 6

#: Most benchmarks to choose from.
CHOICES = 100


@router.get("/ui/compare")
async def show_comparison(request: Request, caller: Reader, database: DatabaseDep) -> Response:
    """Compares the benchmarks that `ids` names with the first of them; without `ids`, lists some to choose from."""
    given_ids = list(
        dict.fromkeys(part for ids in request.query_params.getlist("ids") for part in ids.split(",") if part)
    )
    try:
        ids = [UUID(text) for text in given_ids]
    except ValueError:
        return await _choice(request, caller, database, given_ids, "One of these is not the id of a benchmark.")
    if not FEWEST <= len(ids) <= MOST:
        fault = f"Choose {FEWEST} to {MOST} benchmarks." if ids else None
        return await _choice(request, caller, database, given_ids, fault)
    async with database.reading() as session:
        loaded = [await load(session, benchmark_id) for benchmark_id in ids]
        names = await _model_names(session, ids)
    reports = await anyio.to_thread.run_sync(_compare, loaded)
    return page(
        request,
        "compare/page.html",
        caller,
        reports=reports,
        names=names,
        interval_bars=comparison.speedup_bars(reports),
        differences=comparison.differences(reports),
    )


async def _choice(
    request: Request, caller: Caller, database: Database, given_ids: list[str], fault: str | None
) -> Response:
    async with database.reading() as session:
        rows, _ = await benchmarks.page(session, Filters(["succeeded"]), None, CHOICES)
    items = [to_item(row) for row in rows]
    return page(
        request, "compare/choice.html", caller, 422 if fault else 200, items=items, given=given_ids, fault=fault
    )


async def _model_names(session: AsyncSession, ids: list[UUID]) -> list[str]:
    """Returns the name of each benchmark's model."""
    return [model_name(await use_cases.get(session, benchmark_id)) for benchmark_id in ids]


def _compare(loaded: list[LoadedReport]) -> list[comparison.ComparedReport]:
    """Compares every report with the first; holds the raw samples of two at a time."""
    return list(map(_compared_report, compare_with_first(loaded)))


def _compared_report(compared: Comparison) -> comparison.ComparedReport:
    return comparison.compared_report(compared.report, compared.result, compared.reasons)
