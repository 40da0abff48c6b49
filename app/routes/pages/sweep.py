"""`/ui/sweeps/{id}`: many benchmarks of one request, in one table."""

from fastapi import APIRouter, Request, Response

from app.routes.http.auth import Reader
from app.routes.http.dependencies import DatabaseDep
from app.routes.http.not_found import not_found
from app.routes.pages.answer import page
from app.routes.sweeps import SweepId
from app.store import sweeps
from app.store.resources import to_sweep
from app.web.drawing import range_marks

router = APIRouter(prefix="/ui/sweeps", include_in_schema=False)


@router.get("/{sweep_id}")
async def show_sweep(
    request: Request, sweep_id: SweepId, caller: Reader, database: DatabaseDep, fragment: str = ""
) -> Response:
    """Shows where a sweep stands: a row for every candidate of every benchmark."""
    async with database.reading() as session:
        found = await sweeps.get(session, sweep_id)
        if found is None:
            raise await not_found(session, sweep_id, "No sweep has this id.")
    sweep = to_sweep(*found)
    marks_of = range_marks([row.speedup for row in sweep.rows])
    template = "sweep/live.html" if fragment else "sweep/page.html"
    return page(request, template, caller, sweep=sweep, marks_of=marks_of)
