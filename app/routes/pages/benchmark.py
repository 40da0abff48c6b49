"""`/ui/benchmarks/{id}`: one benchmark, queued, running or finished."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from app.rendering.cache import RenderCache
from app.reports.live.reducer import live_state
from app.reports.live.state import LiveState
from app.routes.http.auth import Reader, require
from app.routes.http.csrf import SameOrigin
from app.routes.http.dependencies import AdmissionDep, BenchmarkId, DatabaseDep, RenderCacheDep, SessionDep, SettingsDep
from app.routes.http.etags import strong_etag
from app.routes.pages.response import page
from app.routes.use_cases import benchmarks as use_cases
from app.store import benchmarks, events
from app.store.resources import to_benchmark
from app.web import live_charts
from halftime import __version__
from halftime.contract.models.naming import name_of
from halftime.contract.resources.benchmark import Benchmark

router = APIRouter(prefix="/ui/benchmarks", include_in_schema=False)

#: Most events that are read: more than the largest benchmark has.
ALL_EVENTS = 5000

#: Events in the log on the page.
LATEST_EVENTS = 100


@router.get("/{benchmark_id}")
async def show_benchmark(
    request: Request,
    benchmark_id: BenchmarkId,
    caller: Reader,
    database: DatabaseDep,
    render_cache: RenderCacheDep,
    fragment: str = "",
) -> Response:
    """Shows a benchmark; with `fragment` only the part that changes until it ends."""
    async with database.reading() as session:
        result = await use_cases.find(session, benchmark_id)
        benchmark = to_benchmark(result.row, result.place)
        stored_events = await events.list_after(session, benchmark_id, 0, ALL_EVENTS)
        stored = await benchmarks.report_gzip(session, benchmark_id) if benchmark.status == "succeeded" else None
    report_body = await _report_body(render_cache, stored) if stored else None
    history = [event.parsed() for event in stored_events]
    live = live_state(benchmark, history)
    return page(
        request,
        "benchmark/live.html" if fragment else "benchmark/page.html",
        caller,
        benchmark=benchmark,
        model_name=name_of(benchmark.request.model),
        sweep_id=result.row.sweep_id,
        report_body=report_body,
        live=live,
        **_live_charts(benchmark, live),
        events=history[: -LATEST_EVENTS - 1 : -1],
        request_json=benchmark.request.model_dump(mode="json"),
    )


@router.post("/{benchmark_id}/cancel", dependencies=[require("submit"), SameOrigin])
async def cancel(benchmark_id: BenchmarkId, session: SessionDep) -> Response:
    """Cancels the benchmark and shows it again; 409 where it has succeeded or failed."""
    await use_cases.cancel(session, benchmark_id)
    return RedirectResponse(f"/ui/benchmarks/{benchmark_id}", 303)


@router.post("/{benchmark_id}/rerun", dependencies=[SameOrigin])
async def rerun(
    benchmark_id: BenchmarkId,
    session: SessionDep,
    settings: SettingsDep,
    admission: AdmissionDep,
) -> Response:
    """Submits the same request again and shows the new benchmark."""
    row = await use_cases.rerun(session, benchmark_id, settings, admission)
    return RedirectResponse(f"/ui/benchmarks/{row.id}", 303)


async def _report_body(render_cache: RenderCache, stored: bytes) -> Markup:
    """Returns the report as HTML for the page."""
    html = await render_cache.get(strong_etag(stored, "part", __version__), stored, "part")
    return Markup(html.decode())  # noqa: S704 # the template escapes


def _live_charts(benchmark: Benchmark, live: LiveState) -> dict[str, Any]:
    """Returns the charts of a benchmark without a report; a report has its own."""
    if benchmark.status == "succeeded":
        return {"losses": None, "intervals": None}
    planned = benchmark.progress.max_blocks if benchmark.progress else benchmark.request.config.measurement.max_blocks
    required = benchmark.request.requirements.min_speedup
    return {"losses": live_charts.loss_chart(live), "intervals": live_charts.interval_chart(live, planned, required)}
