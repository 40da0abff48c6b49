"""`/ui/sweeps/{id}`: the benchmarks of a sweep in one table."""

from fastapi import APIRouter, Request, Response

from app.routes.http.auth import Reader
from app.routes.http.dependencies import DatabaseDep, SweepId
from app.routes.pages.response import page
from app.routes.use_cases import sweeps
from app.web.drawing import interval_bars

router = APIRouter(prefix="/ui/sweeps", include_in_schema=False)


@router.get("/{sweep_id}")
async def show_sweep(
    request: Request, sweep_id: SweepId, caller: Reader, database: DatabaseDep, fragment: str = ""
) -> Response:
    """Shows a sweep, with a row for every candidate of every benchmark."""
    async with database.reading() as session:
        sweep = await sweeps.get(session, sweep_id)
    bars = interval_bars([row.speedup for row in sweep.rows])
    template = "sweep/live.html" if fragment else "sweep/page.html"
    return page(request, template, caller, sweep=sweep, interval_bars=bars)
