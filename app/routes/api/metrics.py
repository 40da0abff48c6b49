"""`/metrics`: for Prometheus; needs no API key."""

import anyio
import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from app.observability.metrics import Metrics
from app.store.database.connection import Database
from app.store.history.snapshot import Snapshot, take_snapshot

log = structlog.get_logger(__name__)

router = APIRouter(tags=["probes"])

#: Longer than the queries take, shorter than the timeout of a scraper.
TIMEOUT_SECONDS = 5.0


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics in the text format of Prometheus", "content": {"text/plain": {}}}},
)
async def get_metrics(request: Request) -> Response:
    """Returns the metrics; without the database only those of the process, and `halftime_database_up 0`."""
    metrics: Metrics = request.app.state.metrics
    body, media_type = metrics.expose(request.headers.get("Accept", ""), await _snapshot(request.app.state.database))
    return Response(body, media_type=media_type)


async def _snapshot(database: Database) -> Snapshot | None:
    try:
        with anyio.fail_after(TIMEOUT_SECONDS):
            async with database.sessions() as session:
                return await take_snapshot(session)
    except (SQLAlchemyError, TimeoutError) as error:
        log.warning("metrics without the database", error=str(error))
        return None
