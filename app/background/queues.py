"""Queue workers of the API processes, for webhooks and maintenance."""

import asyncio
from datetime import timedelta
from uuid import UUID

import anyio
import structlog
from procrastinate import App, JobContext, PsycopgConnector

from app.background.webhooks import Sender, deliver
from app.settings import Settings
from app.store import webhooks
from app.store.database.connection import Database, libpq_url
from app.store.queue import DELIVER_WEBHOOK, MAINTENANCE, WEBHOOKS
from app.store.upkeep import retention

log = structlog.get_logger(__name__)

#: Delay of the first queue worker: the API must be ready first.
START_SECONDS = 1.0

#: Longest pause before a failed queue worker is replaced; the pause doubles until one lives longer than this.
LONGEST_PAUSE_SECONDS = 30.0

#: Polling interval, for missed notifications and for attempts that have become due.
POLLING_SECONDS = 1.0

#: Concurrent attempts per process, so that a receiver that hangs does not delay all others.
CONCURRENCY = 8

#: Time that a stopping process gives a running attempt; an interrupted one is made again later.
GRACE_SECONDS = 2.0

#: Longest time for the rest of the shutdown.
SETTLING_SECONDS = 1.0

#: Age of a periodic task that a starting process still runs, if no other process has run it.
CATCH_UP_SECONDS = 3600.0


async def serve_queues(database: Database, settings: Settings, stopping: anyio.Event) -> None:
    """Runs the tasks of the queues until `stopping` is set. With several processes, each entry runs in one of them."""
    # asyncio's task group cancels the queue worker, which then shuts down cleanly; anyio's would interrupt that.
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve_forever(database, settings))
        await stopping.wait()
        while not serving.done():
            # Repeated, because asyncio.wait_for of Python 3.11 may swallow a cancellation while it connects.
            serving.cancel()
            await asyncio.wait([serving], timeout=GRACE_SECONDS + SETTLING_SECONDS)


async def _serve_forever(database: Database, settings: Settings) -> None:
    """Replaces every queue worker that ends, such as after a lost database or listener."""
    pause_seconds = START_SECONDS
    while True:
        await asyncio.sleep(pause_seconds)
        started = anyio.current_time()
        reason = "it stopped"
        try:
            await _serve(database, settings)
        except Exception as error:  # the next one must start after any error
            reason = str(error)
        uptime_seconds = anyio.current_time() - started
        pause_seconds = (
            START_SECONDS if uptime_seconds > LONGEST_PAUSE_SECONDS else min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        )
        log.warning("the queue worker ended; the next one follows", reason=reason, pause_seconds=pause_seconds)


async def _serve(database: Database, settings: Settings) -> None:
    """Runs one queue worker, with one connection to listen and one to fetch."""
    connector = PsycopgConnector(conninfo=libpq_url(database.url), min_size=1, max_size=1)
    sender = Sender(settings)
    app = _tasks(connector, database, settings, sender)
    try:
        async with app.open_async():
            await app.run_worker_async(
                queues=[WEBHOOKS, MAINTENANCE],
                name="api",
                concurrency=CONCURRENCY,
                fetch_job_polling_interval=POLLING_SECONDS,
                shutdown_graceful_timeout=GRACE_SECONDS,
                install_signal_handlers=False,
                delete_jobs="always",
            )
    finally:
        await sender.close()
        await connector.close_async()  # an interrupted open leaves its pool open


def _tasks(connector: PsycopgConnector, database: Database, settings: Settings, sender: Sender) -> App:
    """Returns an App with the tasks of the API processes; the GPU workers' task has another."""
    app = App(connector=connector, periodic_defaults={"max_delay": CATCH_UP_SECONDS})

    @app.task(name=DELIVER_WEBHOOK, pass_context=True)
    async def deliver_webhook(context: JobContext, delivery_id: str) -> None:
        assert context.job.id is not None
        await deliver(database.sessions, sender, UUID(delivery_id), context.job.id)

    @app.periodic(cron="* * * * *")
    @app.task(name="sweep_webhooks", queue=MAINTENANCE, queueing_lock="sweep_webhooks")
    async def sweep_webhooks(timestamp: int) -> None:
        async with database.sessions.begin() as session:
            await webhooks.sweep(session)

    @app.periodic(cron="0 * * * *")
    @app.task(name="apply_retention", queue=MAINTENANCE, queueing_lock="apply_retention")
    async def apply_retention(timestamp: int) -> None:
        if settings.retention_days is not None:
            await retention.apply(database.sessions, timedelta(days=settings.retention_days))
        await retention.forget_workers(database.sessions)

    return app
