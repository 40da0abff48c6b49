"""`/benchmarks/{id}/report`, `/benchmarks/{id}/trace` and `/benchmarks/{id}/logs`."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse

from app import errors
from app.rendering.formats import MEDIA_TYPES, ReportFormat
from app.routes.http.auth import require
from app.routes.http.dependencies import BenchmarkId, DatabaseDep, RenderCacheDep, SessionDep
from app.routes.http.etags import matches, strong_etag
from app.routes.http.negotiation import choose
from app.routes.use_cases.reports import load_logs, load_report
from app.routes.use_cases.traces import load_trace
from app.web.inlined import policy
from halftime import __version__
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
        304: {"description": "Unchanged since `If-None-Match`"},
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
    render_cache: RenderCacheDep,
    accept: Annotated[str, Header()] = "*/*",
    if_none_match: Annotated[str | None, Header()] = None,
    report_format: Annotated[ReportFormat | None, Query(alias="format", description="overrides `Accept`")] = None,
) -> Response:
    """Returns the report of a succeeded benchmark; a failed one has none (409, with the reason).

    The formats are JSON, a self-contained HTML page, Markdown, and CSV in long form. A report never changes, except
    that retention drops its raw samples at some age: `samples_dropped` then says so.
    """
    chosen = report_format or choose(accept, MEDIA_TYPES)
    async with database.reading() as session:
        stored = await load_report(session, benchmark_id)
    # Every format except JSON may change with a release.
    headers = {"ETag": strong_etag(stored, chosen, __version__), "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if chosen == "html":
        headers["Content-Security-Policy"] = f"{policy()}; frame-ancestors 'none'"
    body = await render_cache.get(headers["ETag"], stored, chosen)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[chosen])


@router.get(
    "/{benchmark_id}/trace",
    response_class=Response,
    responses={
        200: {
            "description": "The trace: gzip-compressed JSON in the Trace Event Format",
            "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "Unchanged since `If-None-Match`"},
        **errors.problem_responses(
            errors.NotFound,
            errors.NoTrace,
            errors.Purged,
            errors.Conflict,
            errors.Invalid,
            errors.DatabaseUnavailable,
        ),
    },
)
async def get_trace(
    benchmark_id: BenchmarkId,
    database: DatabaseDep,
    leg: Annotated[str, Query(pattern="^[a-z0-9 -]{1,64}$", description="a leg of the report, such as `bf16`")],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Returns the trace of a leg's profiled steps, for https://ui.perfetto.dev or Chrome's trace viewer.

    A leg may have none (404, with the reason): not profiled, too large, or deleted by retention.
    """
    trace = await load_trace(database, benchmark_id, leg)
    headers = {"ETag": strong_etag(trace), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    file_name = f"{benchmark_id}-{leg.replace(' ', '-')}.json.gz"
    headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return Response(trace, headers=headers, media_type="application/gzip")


@router.get(
    "/{benchmark_id}/logs",
    response_class=PlainTextResponse,
    responses=errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
)
async def get_logs(benchmark_id: BenchmarkId, session: SessionDep) -> str:
    """Returns what the trials wrote to standard error, tracebacks included; the newest 256 Ki characters."""
    return await load_logs(session, benchmark_id)
