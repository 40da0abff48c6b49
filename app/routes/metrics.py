"""For Prometheus; open without a key."""

import anyio
import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from app.observability.metrics import Metrics
from app.store.database.connection import Database
from app.store.history.snapshot import Snapshot, take_snapshot

log = structlog.get_logger(__name__)

router = APIRouter(tags=["probes"])

#: Longer than the queries take, shorter than a scraper waits.
PATIENCE_SECONDS = 5.0


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics as Prometheus reads them", "content": {"text/plain": {}}}},
)
async def get_metrics(request: Request) -> Response:
    """Gives what Prometheus scrapes; only the process's own and `halftime_database_up 0` while the database is away."""
    metrics: Metrics = request.app.state.metrics
    body, media_type = metrics.expose(request.headers.get("Accept", ""), await _snapshot(request.app.state.database))
    return Response(body, media_type=media_type)


async def _snapshot(database: Database) -> Snapshot | None:
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with database.sessions() as session:
                return await take_snapshot(session)
    except (SQLAlchemyError, TimeoutError) as error:
        log.warning("metrics without the database", error=str(error))
        return None
