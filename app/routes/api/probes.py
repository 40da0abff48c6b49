"""`/livez`, `/readyz`, `/version`: for load balancers and orchestrators; need no API key."""

import platform

from fastapi import APIRouter
from sqlalchemy import text

from app import errors
from app.routes.http.dependencies import SessionDep
from halftime import __version__
from halftime.contract.resources.catalogue import Health, Version

router = APIRouter(tags=["probes"])


@router.get("/livez")
async def livez() -> Health:
    """Returns 200 while the process answers; checks nothing else."""
    return Health(status="ok")


@router.get("/readyz", responses=errors.problem_responses(errors.DatabaseUnavailable))
async def readyz(session: SessionDep) -> Health:
    """Returns 200 while the database answers, otherwise 503 with the reason."""
    await session.execute(text("SELECT 1"))
    return Health(status="ok")


@router.get("/version")
async def version() -> Version:
    """Returns the versions of Halftime and Python."""
    return Version(halftime=__version__, python=platform.python_version())
