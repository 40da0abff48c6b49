"""Who does the work, and who takes no more of it."""

from typing import Annotated

from fastapi import APIRouter, Path
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.routes.http.auth import require
from app.routes.http.dependencies import SessionDep
from app.store.workers import all_workers, set_draining
from halftime.contract.resources.worker import Worker, WorkerPage

router = APIRouter(prefix="/workers", tags=["workers"])

CHANGE_PROBLEMS = errors.problem_responses(errors.NotFound, errors.Invalid, errors.DatabaseUnavailable)

WorkerId = Annotated[str, Path(max_length=255, pattern=r"^[^/\x00]+$", description="As `GET /workers` lists it")]


@router.get("", dependencies=[require("read")], responses=errors.problem_responses(errors.DatabaseUnavailable))
async def list_workers(session: SessionDep) -> WorkerPage:
    """Lists the workers of the last days, live ones first: device, state, what each runs."""
    return WorkerPage(items=await all_workers(session))


@router.post("/{worker_id}/drain", dependencies=[require("admin")], responses=CHANGE_PROBLEMS)
async def drain_worker(worker_id: WorkerId, session: SessionDep) -> Worker:
    """Lets a worker finish what it runs and take no more, until it is undrained; a restart does not change that."""
    return await _set_draining(session, worker_id, True)


@router.post("/{worker_id}/undrain", dependencies=[require("admin")], responses=CHANGE_PROBLEMS)
async def undrain_worker(worker_id: WorkerId, session: SessionDep) -> Worker:
    """Lets a worker take benchmarks again."""
    return await _set_draining(session, worker_id, False)


async def _set_draining(session: AsyncSession, worker_id: str, draining: bool) -> Worker:
    async with session.begin():
        worker = await set_draining(session, worker_id, draining)
    if worker is None:
        raise errors.NotFound("No worker has this id; `GET /workers` lists those that have been seen.")
    return worker
