"""The ASGI application: settings, database, routes, middleware and background tasks."""

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
from app.routes import api, pages
from app.routes.api.webhooks import messages
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

#: Database connections of one API process.
POOL_SIZE = 10


def create_app(settings: Settings | None = None) -> FastAPI:
    """Creates the ASGI application, which opens the database at startup and closes it at shutdown."""
    settings = settings or Settings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            tracing.exported_spans("halftime-api"),
            open_database(settings, pool_size=POOL_SIZE) as database,
            notifications_of(database.url) as notifications,
            anyio.create_task_group() as tasks,
        ):
            app.state.settings, app.state.database, app.state.notifications = settings, database, notifications
            app.state.access_gate = AccessGate(database.sessions, settings)
            app.state.render_cache = RenderCache()
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
        # FastAPI's documentation pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_cross_site)],
        webhooks=messages,
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.state.metrics = Metrics()
    install_middleware(app, settings, app.state.metrics.http_durations)
    install_error_handlers(app)
    install_problem_pages(app)
    extend_document(app)
    for router in api.guarded:
        app.include_router(router, responses=REFUSALS)
    for router in (*api.open_to_all, *pages.routers):
        app.include_router(router)
    app.mount("/static", Assets())
    return app


async def _reap(database: Database, max_attempts: int, stopping: anyio.Event) -> None:
    """Requeues or ends the benchmarks of dead workers, also while no worker lives."""
    while not stopping.is_set():
        try:
            await reaper.run_if_due(database.sessions, max_attempts)
        except Exception as error:  # the reaper must survive any error
            log.warning("reaper skipped a round", error=str(error))
            await database.recover()
        with anyio.move_on_after(reaper.PERIOD_SECONDS):
            await stopping.wait()
