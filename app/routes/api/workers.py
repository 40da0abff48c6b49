"""`/workers`: list, drain and undrain."""

from fastapi import APIRouter

from app import errors
from app.routes.http.auth import require
from app.routes.http.dependencies import SessionDep, WorkerId
from app.routes.use_cases import workers
from app.store.workers import all_workers
from halftime.contract.resources.worker import Worker, WorkerPage

router = APIRouter(prefix="/workers", tags=["workers"])

CHANGE_PROBLEMS = errors.problem_responses(errors.NotFound, errors.Invalid, errors.DatabaseUnavailable)


@router.get("", dependencies=[require("read")], responses=errors.problem_responses(errors.DatabaseUnavailable))
async def list_workers(session: SessionDep) -> WorkerPage:
    """Lists the workers of the last seven days, live ones first, each with its device, state and current benchmark."""
    return WorkerPage(items=await all_workers(session))


@router.post("/{worker_id}/drain", dependencies=[require("admin")], responses=CHANGE_PROBLEMS)
async def drain_worker(worker_id: WorkerId, session: SessionDep) -> Worker:
    """Lets a worker finish its benchmark and take no more until it is undrained, also after a restart."""
    return await workers.drain(session, worker_id)


@router.post("/{worker_id}/undrain", dependencies=[require("admin")], responses=CHANGE_PROBLEMS)
async def undrain_worker(worker_id: WorkerId, session: SessionDep) -> Worker:
    """Lets a worker take benchmarks again."""
    return await workers.undrain(session, worker_id)
