"""`/ui/workers`: workers, their devices and health, and the latest benchmarks of each."""

from collections import defaultdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.routes.http.auth import Reader, require
from app.routes.http.csrf import SameOrigin
from app.routes.http.dependencies import DatabaseDep, SessionDep, WorkerId
from app.routes.pages.response import page
from app.routes.use_cases import workers as use_cases
from app.store import benchmarks, workers
from app.store.resources import to_item
from halftime.contract.resources.benchmark import BenchmarkItem

router = APIRouter(prefix="/ui/workers", include_in_schema=False)

#: Newest benchmarks that are searched for those of each worker.
SEARCHED = 200

#: Most benchmarks shown for each worker.
HISTORY = 5


@router.get("")
async def show_workers(request: Request, caller: Reader, database: DatabaseDep, fragment: str = "") -> Response:
    """Lists the workers of the last seven days with their state, last heartbeat and latest benchmarks."""
    async with database.reading() as session:
        items = await workers.all_workers(session)
        rows = await benchmarks.latest(session, SEARCHED)
    history: defaultdict[str, list[BenchmarkItem]] = defaultdict(list)
    for row in rows:
        if row.worker_id and len(history[row.worker_id]) < HISTORY:
            history[row.worker_id].append(to_item(row))
    template = "workers/live.html" if fragment else "workers/page.html"
    return page(request, template, caller, workers=items, history=history, searched=SEARCHED)


@router.post("/{worker_id}/drain", dependencies=[require("admin"), SameOrigin])
async def drain(worker_id: WorkerId, session: SessionDep) -> Response:
    """Lets a worker finish its benchmark and take no more."""
    await use_cases.drain(session, worker_id)
    return RedirectResponse("/ui/workers", 303)


@router.post("/{worker_id}/undrain", dependencies=[require("admin"), SameOrigin])
async def undrain(worker_id: WorkerId, session: SessionDep) -> Response:
    """Lets a worker take benchmarks again."""
    await use_cases.undrain(session, worker_id)
    return RedirectResponse("/ui/workers", 303)
