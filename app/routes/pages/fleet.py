"""`/ui/workers`: devices, their health, and what each ran last."""

from collections import defaultdict

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.routes.http.auth import Reader, require
from app.routes.http.csrf import SameOrigin
from app.routes.http.dependencies import DatabaseDep, SessionDep
from app.routes.pages.answer import page
from app.routes.workers import WorkerId, drain_worker, undrain_worker
from app.store import benchmarks, workers
from app.store.resources import to_item
from halftime.contract.resources.benchmark import BenchmarkItem

router = APIRouter(prefix="/ui/workers", include_in_schema=False)

#: Benchmarks that are looked through for what each worker ran.
LOOKED_THROUGH = 200

#: Shown of each worker.
HISTORY = 5


@router.get("")
async def show_workers(request: Request, caller: Reader, database: DatabaseDep, fragment: str = "") -> Response:
    """Lists the workers of the last days with their state, last heartbeat, and part of the newest benchmarks."""
    async with database.reading() as session:
        found = await workers.all_workers(session)
        rows = await benchmarks.latest(session, LOOKED_THROUGH)
    history: defaultdict[str, list[BenchmarkItem]] = defaultdict(list)
    for row in rows:
        if row.worker_id and len(history[row.worker_id]) < HISTORY:
            history[row.worker_id].append(to_item(row))
    template = "workers/live.html" if fragment else "workers/page.html"
    return page(request, template, caller, workers=found, history=history, looked_through=LOOKED_THROUGH)


@router.post("/{worker_id}/drain", dependencies=[require("admin"), SameOrigin])
async def drain(worker_id: WorkerId, session: SessionDep) -> Response:
    """Lets a worker finish what it runs and take no more."""
    await drain_worker(worker_id, session)
    return RedirectResponse("/ui/workers", 303)


@router.post("/{worker_id}/undrain", dependencies=[require("admin"), SameOrigin])
async def undrain(worker_id: WorkerId, session: SessionDep) -> Response:
    """Lets a worker take benchmarks again."""
    await undrain_worker(worker_id, session)
    return RedirectResponse("/ui/workers", 303)
