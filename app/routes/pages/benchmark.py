"""`/ui/benchmarks/{id}`: one benchmark, while it waits, while it runs, and what came of it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from app.rendering.cache import RenderCache
from app.reports.live.reducer import live_state
from app.reports.live.state import LiveState
from app.routes.benchmarks import cancel_benchmark, rerun_benchmark
from app.routes.http.auth import Reader, require
from app.routes.http.csrf import SameOrigin
from app.routes.http.dependencies import BenchmarkId, DatabaseDep, RenderCacheDep, SessionDep, SettingsDep
from app.routes.http.etags import strong_etag
from app.routes.http.not_found import not_found
from app.routes.http.quota import AdmissionDep
from app.routes.pages.answer import page
from app.store import benchmarks, events
from app.store.resources import to_benchmark
from app.web import live_charts
from halftime import __version__
from halftime.contract.models.naming import name_of
from halftime.contract.resources.benchmark import Benchmark

router = APIRouter(prefix="/ui/benchmarks", include_in_schema=False)

#: Events that are read: more than the largest benchmark makes.
ALL_EVENTS = 5000

#: Events that the log on the page shows.
LATEST_EVENTS = 100


@router.get("/{benchmark_id}")
async def show_benchmark(
    request: Request,
    benchmark_id: BenchmarkId,
    caller: Reader,
    database: DatabaseDep,
    renderings: RenderCacheDep,
    fragment: str = "",
) -> Response:
    """Shows a benchmark; with `fragment` only the part that changes while it is not over."""
    async with database.reading() as session:
        found = await benchmarks.find(session, benchmark_id)
        if found is None:
            raise await not_found(session, benchmark_id)
        benchmark = to_benchmark(found.row, found.place)
        stored_events = await events.after(session, benchmark_id, 0, ALL_EVENTS)
        stored = await benchmarks.report_gzip(session, benchmark_id) if benchmark.status == "succeeded" else None
    report_body = await _report_body(renderings, stored) if stored else None
    happened = [event.parsed() for event in stored_events]
    state = live_state(benchmark, happened)
    return page(
        request,
        "benchmark/live.html" if fragment else "benchmark/page.html",
        caller,
        benchmark=benchmark,
        model_name=name_of(benchmark.request.model),
        sweep_id=found.row.sweep_id,
        report_body=report_body,
        live=state,
        **_pictures(benchmark, state),
        events=happened[: -LATEST_EVENTS - 1 : -1],
        request_json=benchmark.request.model_dump(mode="json"),
    )


@router.post("/{benchmark_id}/cancel", dependencies=[require("submit"), SameOrigin])
async def cancel(benchmark_id: BenchmarkId, session: SessionDep, database: DatabaseDep) -> Response:
    """Cancels, and shows the benchmark again. 409 for one that has succeeded or failed."""
    await cancel_benchmark(benchmark_id, session, database)
    return RedirectResponse(f"/ui/benchmarks/{benchmark_id}", 303)


@router.post("/{benchmark_id}/rerun", dependencies=[SameOrigin])
async def rerun(
    benchmark_id: BenchmarkId,
    session: SessionDep,
    database: DatabaseDep,
    settings: SettingsDep,
    admission: AdmissionDep,
) -> Response:
    """Makes a new benchmark of the same request, and shows that one."""
    made = await rerun_benchmark(benchmark_id, session, database, settings, admission)
    return RedirectResponse(f"/ui{made.headers['Location']}", 303)


async def _report_body(renderings: RenderCache, stored: bytes) -> Markup:
    """A report as it is shown."""
    drawn = await renderings.of(strong_etag(stored, "part", __version__), stored, "part")
    return Markup(drawn.decode())  # noqa: S704 # the template escapes


def _pictures(benchmark: Benchmark, state: LiveState) -> dict[str, Any]:
    """Of what is known while it runs; the report has its own."""
    if benchmark.status == "succeeded":
        return {"losses": None, "intervals": None}
    planned = benchmark.progress.max_blocks if benchmark.progress else benchmark.request.config.measurement.max_blocks
    required = benchmark.request.requirements.min_speedup
    return {"losses": live_charts.loss_chart(state), "intervals": live_charts.interval_chart(state, planned, required)}
