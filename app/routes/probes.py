"""For load balancers and orchestrators; open without a key."""

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
    """Says that the process answers; checks nothing outside it."""
    return Health(status="ok")


@router.get("/readyz", responses=errors.problem_responses(errors.DatabaseUnavailable))
async def readyz(session: SessionDep) -> Health:
    """Says that the database answers; 503 with what is missing where it does not."""
    await session.execute(text("SELECT 1"))
    return Health(status="ok")


@router.get("/version")
async def version() -> Version:
    """Says what is running."""
    return Version(halftime=__version__, python=platform.python_version())
