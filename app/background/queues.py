"""What every API process does beside answering: it serves the queues of webhooks and maintenance."""

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

#: The API answers first; what is queued can wait a moment.
START_SECONDS = 1.0

#: Between a queue worker that failed and the next: doubled until one lives as long as the longest pause.
LONGEST_PAUSE_SECONDS = 30.0

#: Backs up the queue's notifications, and finds the attempts that were put off.
POLLING_SECONDS = 1.0

#: Attempts at once in one process, so that a receiver that hangs does not hold up all others.
CONCURRENCY = 8

#: What a stopping process waits for an attempt under way; cut short, it is made again later.
GRACE_SECONDS = 2.0

#: What the rest of stopping in good order takes at most.
SETTLING_SECONDS = 1.0

#: A process that starts makes up for the last hour's round, if no other process has made it.
CATCH_UP_SECONDS = 3600.0


async def serve_queues(database: Database, settings: Settings, stopping: anyio.Event) -> None:
    """Runs the queues' tasks until `stopping`. Many processes may: each entry goes to one of them."""
    # asyncio's own group: it cancels the queue's worker, which then stops in good order; anyio's would not let it.
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(_serve_for_good(database, settings))
        await stopping.wait()
        while not serving.done():
            # Once is not enough: while it connects, asyncio.wait_for of Python 3.11 may swallow a cancellation.
            serving.cancel()
            await asyncio.wait([serving], timeout=GRACE_SECONDS + SETTLING_SECONDS)


async def _serve_for_good(database: Database, settings: Settings) -> None:
    """One queue worker after another: a lost database or listener ends one, and none may be the last."""
    pause_seconds = START_SECONDS
    while True:
        await asyncio.sleep(pause_seconds)
        started = anyio.current_time()
        reason = "it stopped"
        try:
            await _serve(database, settings)
        except Exception as error:  # whatever it was, the next must start
            reason = str(error)
        lived_seconds = anyio.current_time() - started
        pause_seconds = (
            START_SECONDS if lived_seconds > LONGEST_PAUSE_SECONDS else min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        )
        log.warning("the queue worker ended; the next one follows", reason=reason, pause_seconds=pause_seconds)


async def _serve(database: Database, settings: Settings) -> None:
    """One queue worker, on two connections: one to listen with, one to fetch with."""
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
        await connector.close_async()  # opening, cut short, leaves its pool behind


def _tasks(connector: PsycopgConnector, database: Database, settings: Settings, sender: Sender) -> App:
    """An App of its own, beside the one that the workers' task is registered with."""
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
