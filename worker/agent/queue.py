"""The worker's end of the queue: on the connection that the worker has anyway, and kept up through outages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, LiteralString

import structlog
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.connector import Notify
from procrastinate.exceptions import ConnectorException
from psycopg import AsyncConnection

from app.store.database.connection import Database, driver_connection, libpq_url
from app.store.queue import RUN_BENCHMARK

log = structlog.get_logger(__name__)

#: Backs up the queue's notifications.
POLLING_SECONDS = 1.0

#: Between two tries to listen, while the database is away.
RETRY_SECONDS = 1.0

#: Between a queue worker that failed and the next: doubled until one lives as long as the longest pause.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0

RunBenchmark = Callable[[JobContext, str], Awaitable[None]]


class SharedConnector(PsycopgConnector):
    """Procrastinate on SQLAlchemy's connection. It opens one of its own only to listen."""

    def __init__(self, database: Database) -> None:
        # The pool stays empty: from it the listener knows where to connect.
        super().__init__(conninfo=libpq_url(database.url), min_size=0, max_size=1)
        self._database = database

    async def execute_query_async(self, query: LiteralString, **arguments: object) -> None:
        """A statement without an answer."""
        async with self._shared() as connection:
            await connection.execute(query, arguments)

    async def execute_query_one_async(self, query: LiteralString, **arguments: object) -> dict[str, Any]:
        """The one row of an answer. Raises NoResult."""
        async with self._shared() as connection:
            found: dict[str, Any] = await self.execute_query_one_async_with_connection(connection, query, **arguments)
        return found

    async def execute_query_all_async(self, query: LiteralString, **arguments: object) -> list[dict[str, Any]]:
        """Every row of an answer."""
        async with self._shared() as connection:
            found: list[dict[str, Any]] = await self.execute_query_all_async_with_connection(
                connection, query, **arguments
            )
        return found

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        """Until cancelled: Procrastinate would not notice that its listener failed. What it misses, polling finds."""
        channels = list(channels)
        while True:
            try:
                await super().listen_notify(on_notification, channels)
            except (ConnectorException, OSError) as error:
                log.warning("not listening to the queue", error=str(error.__cause__ or error))
            await asyncio.sleep(RETRY_SECONDS)

    @contextlib.asynccontextmanager
    async def _shared(self) -> AsyncIterator[AsyncConnection]:
        async with self._database.reading() as session:
            yield await driver_connection(session)


async def serve_for_good(database: Database, queues: list[str], name: str, run_benchmark: RunBenchmark) -> None:
    """One queue worker after another, until cancelled: a database that was away ends one, and none may be the last.

    Whichever way a queue worker ends, it waits for the entry that it runs: that one has a lease of its own.
    """
    pause_seconds = FIRST_PAUSE_SECONDS
    clock = asyncio.get_running_loop().time
    while True:
        started, reason = clock(), "it stopped"
        try:
            await _serve(database, queues, name, run_benchmark)
        except Exception as error:  # whatever it was, the next must start
            reason = str(error)
        if clock() - started > LONGEST_PAUSE_SECONDS:
            pause_seconds = FIRST_PAUSE_SECONDS
        log.warning("the queue worker ended; the next one follows", reason=reason, pause_seconds=pause_seconds)
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
        await connector.close_async()  # opening, cut short, leaves its pool behind
