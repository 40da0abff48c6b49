"""Notifies waiters when a benchmark changes, over one LISTEN connection per process.

A trigger in PostgreSQL notifies on every new version of a row. After a change, the waiters share one reading: a
thousand clients that wait for one benchmark cost one query.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from typing import Any, TypeVar, cast
from uuid import UUID

import anyio
import psycopg
import structlog
from psycopg import AsyncConnection, sql
from sqlalchemy import URL

from app.store.database.connection import libpq_url

log = structlog.get_logger(__name__)

#: Channel of the schema's triggers; the payload is the benchmark's ID.
CHANNEL = "halftime_benchmarks"

#: Pause between two attempts to listen while the database does not answer.
RETRY_SECONDS = 1.0

#: Interval of the query that detects a connection whose other end is gone.
ALIVE_SECONDS = 10.0

Result = TypeVar("Result")


@contextlib.asynccontextmanager
async def notifications_of(url: URL) -> AsyncIterator["Notifications"]:
    """Listens to the changes of a database's benchmarks during the block."""
    async with anyio.create_task_group() as tasks:
        notifications = Notifications(url)
        tasks.start_soon(notifications.run)
        yield notifications
        tasks.cancel_scope.cancel()


class Notifications:
    """Notifies waiters that a benchmark may have changed."""

    def __init__(self, url: URL) -> None:
        self._conninfo = libpq_url(url)
        self.topics: defaultdict[UUID, _Topic] = defaultdict(_Topic)
        self._listening = False

    async def run(self) -> None:
        """Listens until cancelled. After a lost connection, all waiters are woken to read what they missed."""
        while True:
            try:
                async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    with anyio.fail_after(ALIVE_SECONDS):
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                    self._listening = True
                    self._notify_all()
                    await self._listen(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("the connection for notifications failed", error=str(error))
            finally:
                self._listening = False
            await anyio.sleep(RETRY_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether notifications are received now; they are not while the database does not answer."""
        return self._listening

    @contextlib.contextmanager
    def watch(self, benchmark_id: UUID) -> Iterator["Watch"]:
        """Yields a watch that is notified of the benchmark's changes during the block."""
        topic = self.topics[benchmark_id]
        topic.watches += 1
        try:
            yield Watch(self, topic)
        finally:
            topic.watches -= 1
            if not topic.watches:
                del self.topics[benchmark_id]

    async def _listen(self, connection: AsyncConnection) -> None:
        while True:
            async for notify in connection.notifies(timeout=ALIVE_SECONDS):
                topic = self.topics.get(UUID(notify.payload))
                if topic:
                    topic.notify()
            with anyio.fail_after(ALIVE_SECONDS):
                await connection.execute("SELECT 1")

    def _notify_all(self) -> None:
        for topic in self.topics.values():
            topic.notify()


class _Topic:
    """A benchmark with waiters."""

    def __init__(self) -> None:
        self.watches = 0
        self.changes = 0
        self.changed = asyncio.Event()
        self.readings: dict[Hashable, asyncio.Future[Any]] = {}

    def notify(self) -> None:
        """Wakes all waiters and discards shared readings."""
        self.changes += 1
        self.readings = {}
        self.changed.set()
        self.changed = asyncio.Event()


class Watch:
    """A waiter for the changes of one benchmark."""

    def __init__(self, source: Notifications, topic: _Topic) -> None:
        self._source, self._topic = source, topic
        self._seen = topic.changes

    async def changed(self) -> None:
        """Returns at the next change, immediately if there was one since the last return."""
        if self._seen == self._topic.changes:
            await self._topic.changed.wait()
        self._seen = self._topic.changes

    async def read(self, what: Hashable, load: Callable[[], Awaitable[Result]]) -> Result:
        """Returns the result of `load`, which is shared by all waiters that read the same after the same change."""
        if not self._source.listening:  # a shared reading could be stale without a notification
            return await load()
        reading = self._topic.readings.get(what)
        if reading is None:
            reading = self._topic.readings[what] = asyncio.ensure_future(load())
        if reading.done():
            return cast("Result", reading.result())
        # The cancellation of one waiter must not end the reading of the others.
        try:
            result: Result = await asyncio.shield(reading)
        except BaseException:
            self._topic.readings.pop(what, None)
            raise
        return result
