"""Who does the work."""

from fastapi import APIRouter

from app import errors
from app.contract.worker import WorkerPage
from app.routes.callers import require
from app.routes.dependencies import SessionDep
from app.store.workers import all_workers

router = APIRouter(prefix="/workers", tags=["workers"], dependencies=[require("read")])


@router.get("", responses=errors.problem_responses(errors.DatabaseUnavailable))
async def list_workers(session: SessionDep) -> WorkerPage:
    """Lists every worker ever seen, live ones first: its device, its state, what it runs."""
    return WorkerPage(items=await all_workers(session))
