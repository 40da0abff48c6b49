"""What a benchmark left behind: its report and its logs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.rendering.formats import MEDIA_TYPES, ReportFormat
from app.routes.http.auth import require
from app.routes.http.dependencies import BenchmarkId, DatabaseDep, RenderCacheDep, SessionDep
from app.routes.http.etags import matches, strong_etag
from app.routes.http.long_poll import RETRY_AFTER
from app.routes.http.negotiation import choose
from app.routes.http.not_found import not_found
from app.store import benchmarks
from app.store.database.tables import BenchmarkRow
from app.web.inlined import policy
from halftime import __version__
from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Report

router = APIRouter(prefix="/benchmarks", tags=["reports"], dependencies=[require("read")])


@router.get(
    "/{benchmark_id}/report",
    responses={
        200: {
            "description": "The report",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Report"}},
                "text/html": {"schema": {"type": "string"}},
                "text/markdown": {"schema": {"type": "string"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        304: {"description": "The client has it already"},
        **errors.problem_responses(
            errors.NotFound,
            errors.Purged,
            errors.NotAcceptable,
            errors.Conflict,
            errors.Invalid,
            errors.DatabaseUnavailable,
        ),
    },
    response_model=Report,
)
async def get_report(
    benchmark_id: BenchmarkId,
    database: DatabaseDep,
    renderings: RenderCacheDep,
    accept: Annotated[str, Header()] = "*/*",
    if_none_match: Annotated[str | None, Header()] = None,
    report_format: Annotated[ReportFormat | None, Query(alias="format", description="overrides `Accept`")] = None,
) -> Response:
    """Gives the report of a succeeded benchmark; a failed one has none (409, with why).

    As JSON, as one HTML page that needs nothing else, as Markdown, or as CSV in long form. It never changes, except
    that retention drops its raw samples one day: then it says so in `samples_dropped`.
    """
    chosen = report_format or choose(accept, MEDIA_TYPES)
    async with database.reading() as session:
        stored = await load_report(session, benchmark_id)
    # All but JSON may change with a release.
    headers = {"ETag": strong_etag(stored, chosen, __version__), "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if chosen == "html":
        headers["Content-Security-Policy"] = f"{policy()}; frame-ancestors 'none'"
    body = await renderings.of(headers["ETag"], stored, chosen)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[chosen])


@router.get(
    "/{benchmark_id}/logs",
    response_class=PlainTextResponse,
    responses=errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
)
async def get_logs(benchmark_id: BenchmarkId, session: SessionDep) -> str:
    """Gives what the trials wrote to standard error, tracebacks included; the newest 256 Ki characters."""
    text = await benchmarks.logs(session, benchmark_id)
    if text is None:
        raise await not_found(session, benchmark_id)
    return text


async def load_report(session: AsyncSession, benchmark_id: UUID) -> bytes:
    """The report as it is stored. Raises NotFound, Purged, ReportNotReady, BenchmarkFailed."""
    row = await benchmarks.get(session, benchmark_id)
    if row is None:
        raise await not_found(session, benchmark_id)
    stored = await benchmarks.report_gzip(session, benchmark_id)
    if stored is None:
        raise _no_report(row)
    return stored


def _no_report(row: BenchmarkRow) -> errors.Conflict:
    if row.failure is not None:
        failure = Failure.model_validate(row.failure)
        return errors.BenchmarkFailed(f"{failure.title} ({failure.code}): {failure.detail}")
    if row.status == "cancelled":
        return errors.BenchmarkFailed("The benchmark was cancelled.")
    retry_after = {"Retry-After": RETRY_AFTER.get(row.status, "2")}
    return errors.ReportNotReady(f"The benchmark is {row.status}.", headers=retry_after)
