"""The whole service, put together."""

import contextlib
from collections.abc import AsyncIterator

import anyio
import structlog
from fastapi import Depends, FastAPI

from app.background import queues
from app.errors.handlers import install_error_handlers
from app.middleware import install_middleware
from app.middleware.body_limit import BodyLimit
from app.observability import tracing
from app.observability.metrics import Metrics
from app.rendering.cache import RenderCache
from app.routes import (
    benchmarks,
    catalogue,
    compare,
    events,
    metrics,
    pages,
    probes,
    reports,
    sweeps,
    webhooks,
    workers,
)
from app.routes.http.auth import REFUSALS, AccessGate
from app.routes.http.csrf import refuse_cross_site
from app.routes.openapi.document import extend_document
from app.routes.pages.problems import install_problem_pages
from app.routes.pages.static import Assets
from app.settings import Settings
from app.store.database.connection import Database, open_database
from app.store.notifications import notifications_of
from app.store.upkeep import reaper
from halftime import __version__

log = structlog.get_logger(__name__)

#: Connections of one API process.
POOL_SIZE = 10


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application. Opens the database when it starts, closes it when it stops."""
    settings = settings or Settings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            tracing.exported_spans("halftime-api"),
            open_database(settings, pool_size=POOL_SIZE) as database,
            notifications_of(database.url) as changes,
            anyio.create_task_group() as tasks,
        ):
            app.state.settings, app.state.database, app.state.changes = settings, database, changes
            app.state.door = AccessGate(database.sessions, settings)
            app.state.renderings = RenderCache()
            stopping = anyio.Event()
            tasks.start_soon(_reap, database, settings.max_attempts, stopping)
            tasks.start_soon(queues.serve_queues, database, settings, stopping)
            yield
            stopping.set()

    app = FastAPI(
        title="Halftime",
        version=__version__,
        summary="Is mixed-precision training worth it for this model on this GPU?",
        lifespan=lifespan,
        telemetry=tracing.REQUESTS,
        # FastAPI's own pages for it load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_cross_site)],
        webhooks=webhooks.messages,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.state.metrics = Metrics()
    install_middleware(app, settings, app.state.metrics.http_durations)
    install_error_handlers(app)
    install_problem_pages(app)
    extend_document(app)
    for resource in (benchmarks, events, reports, compare, sweeps, webhooks, workers, catalogue):
        app.include_router(resource.router, responses=REFUSALS)
    for resource in (probes, metrics):
        app.include_router(resource.router)
    for router in pages.routers:
        app.include_router(router)
    app.mount("/static", Assets())
    return app


async def _reap(database: Database, max_attempts: int, stopping: anyio.Event) -> None:
    """Moves on what dead workers left, also while no worker lives."""
    while not stopping.is_set():
        try:
            await reaper.take_turn(database.sessions, max_attempts)
        except Exception as error:  # whatever it was, the next round must come
            log.warning("reaper skipped a round", error=str(error))
            await database.recover()
        with anyio.move_on_after(reaper.PERIOD_SECONDS):
            await stopping.wait()
