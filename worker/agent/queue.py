"""The worker's side of the queue: shares the worker's connections and restarts after database outages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, LiteralString

import structlog
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from psycopg import AsyncConnection
from typing_extensions import override

from app.store.database.connection import Database, driver_connection, libpq_url
from app.store.queue import RUN_BENCHMARK

log = structlog.get_logger(__name__)

#: Interval of polling, in case a notification is missed.
POLLING_SECONDS = 1.0

#: Pause between attempts to listen while the database is unreachable.
RETRY_SECONDS = 1.0

#: Pause before a failed queue worker is restarted: doubles with each failure, and resets once a queue worker has run
#: longer than the longest pause.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0

RunBenchmark = Callable[[JobContext, str], Awaitable[None]]


class SharedConnector(PsycopgConnector):
    """Runs Procrastinate's queries on SQLAlchemy's connections; only listening opens a connection of its own."""

    def __init__(self, database: Database) -> None:
        # The pool stays empty; the listener reads the connection settings from it.
        super().__init__(conninfo=libpq_url(database.url), min_size=0, max_size=1)
        self._database = database

    @override
    async def execute_query_async(self, query: LiteralString, **arguments: object) -> None:
        """Executes a statement that returns no rows."""
        async with self._shared() as connection:
            await connection.execute(query, arguments)

    @override
    async def execute_query_one_async(self, query: LiteralString, **arguments: object) -> dict[str, Any]:
        """Returns the single row of a query. Raises NoResult when there is none."""
        async with self._shared() as connection:
            row: dict[str, Any] = await self.execute_query_one_async_with_connection(connection, query, **arguments)
        return row

    @override
    async def execute_query_all_async(self, query: LiteralString, **arguments: object) -> list[dict[str, Any]]:
        """Returns all rows of a query."""
        async with self._shared() as connection:
            row: list[dict[str, Any]] = await self.execute_query_all_async_with_connection(
                connection, query, **arguments
            )
        return row

    @override
    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Listens until cancelled; reconnects after errors, which Procrastinate does not. Polling covers the gaps."""
        channels = list(channels)
        while True:
            try:
                await super().listen_notify(on_notification, channels)
            except (ConnectorException, OSError) as error:
                log.warning("queue listener disconnected; reconnecting", error=str(error.__cause__ or error))
            await asyncio.sleep(RETRY_SECONDS)

    @contextlib.asynccontextmanager
    async def _shared(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.reading() as session:
            yield await driver_connection(session)


async def serve_queue(database: Database, queues: list[str], name: str, run_benchmark: RunBenchmark) -> None:
    """Serves the queue until cancelled; restarts the queue worker after a database outage has ended it.

    A queue worker that ends waits for its running job, which has a lease of its own.
    """
    pause_seconds = FIRST_PAUSE_SECONDS
    clock = asyncio.get_running_loop().time
    while True:
        started, reason = clock(), "it stopped"
        try:
            await _serve(database, queues, name, run_benchmark)
        except Exception as error:  # any error must lead to a restart
            reason = str(error)
        if clock() - started > LONGEST_PAUSE_SECONDS:
            pause_seconds = FIRST_PAUSE_SECONDS
        log.warning("queue worker ended; restarting", reason=reason, pause_seconds=pause_seconds)
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


async def _serve(database: Database, queues: list[str], name: str, run_benchmark: RunBenchmark) -> None:
    connector = SharedConnector(database)
    app = App(connector=connector)
    app.task(name=RUN_BENCHMARK, pass_context=True)(run_benchmark)
    try:
        async with app.open_async():
            await app.run_worker_async(
                queues=queues,
                name=name,
                concurrency=1,
                fetch_job_polling_interval=POLLING_SECONDS,
                abort_job_polling_interval=POLLING_SECONDS,
                install_signal_handlers=False,
                delete_jobs="always",
            )
    finally:
        await connector.close_async()  # an interrupted open leaves its pool open
