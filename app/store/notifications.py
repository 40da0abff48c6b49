"""Who waits for a benchmark hears of its changes: one LISTEN connection per process, whatever the number of waiters.

PostgreSQL notifies on every new version of a row (a trigger of the schema's). What a change makes everyone read is
read once and shared: a thousand clients that wait for one benchmark cost one query.
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

#: The schema's triggers notify here, with the benchmark's id.
CHANNEL = "halftime_benchmarks"

#: Between two tries to listen, while the database is away.
RETRY_SECONDS = 1.0

#: A connection whose other end is gone without a word is found out by asking it this often.
ALIVE_SECONDS = 10.0

Result = TypeVar("Result")


@contextlib.asynccontextmanager
async def notifications_of(url: URL) -> AsyncIterator["Notifications"]:
    """The changes of a database's benchmarks, heard for the length of the block."""
    async with anyio.create_task_group() as tasks:
        changes = Notifications(url)
        tasks.start_soon(changes.run)
        yield changes
        tasks.cancel_scope.cancel()


class Notifications:
    """Tells waiters that a benchmark may have changed."""

    def __init__(self, url: URL) -> None:
        self._conninfo = libpq_url(url)
        self._topics: defaultdict[UUID, _Topic] = defaultdict(_Topic)
        self._listening = False

    async def run(self) -> None:
        """Listens until cancelled. After a lost connection everyone is woken, and reads again what was missed."""
        while True:
            try:
                async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
                    with anyio.fail_after(ALIVE_SECONDS):
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                    self._listening = True
                    self._tell_all()
                    await self._hear(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("not listening for changes", error=str(error))
            finally:
                self._listening = False
            await anyio.sleep(RETRY_SECONDS)

    @property
    def listening(self) -> bool:
        """Whether changes are heard of now; while the database is away, they are not."""
        return self._listening

    @contextlib.contextmanager
    def watch(self, benchmark_id: UUID) -> Iterator["Watch"]:
        """Hears of the benchmark's changes from now on."""
        topic = self._topics[benchmark_id]
        topic.watches += 1
        try:
            yield Watch(self, topic)
        finally:
            topic.watches -= 1
            if not topic.watches:
                del self._topics[benchmark_id]

    async def _hear(self, connection: AsyncConnection) -> None:
        while True:
            async for notify in connection.notifies(timeout=ALIVE_SECONDS):
                topic = self._topics.get(UUID(notify.payload))
                if topic:
                    topic.tell()
            with anyio.fail_after(ALIVE_SECONDS):
                await connection.execute("SELECT 1")

    def _tell_all(self) -> None:
        for topic in self._topics.values():
            topic.tell()


class _Topic:
    """One benchmark that somebody waits for."""

    def __init__(self) -> None:
        self.watches = 0
        self.changes = 0
        self.changed = asyncio.Event()
        self.readings: dict[Hashable, asyncio.Future[Any]] = {}

    def tell(self) -> None:
        """Wakes everyone; what they read next is read anew."""
        self.changes += 1
        self.readings = {}
        self.changed.set()
        self.changed = asyncio.Event()


class Watch:
    """One waiter."""

    def __init__(self, source: Notifications, topic: _Topic) -> None:
        self._source, self._topic = source, topic
        self._seen = topic.changes

    async def changed(self) -> None:
        """Returns at the next change, at once if there was one since the last return."""
        if self._seen == self._topic.changes:
            await self._topic.changed.wait()
        self._seen = self._topic.changes

    async def read(self, what: Hashable, load: Callable[[], Awaitable[Result]]) -> Result:
        """What `load` gives, loaded once for all who ask for the same after the same change."""
        if not self._source.listening:  # nobody would say that a shared reading is stale
            return await load()
        reading = self._topic.readings.get(what)
        if reading is None:
            reading = self._topic.readings[what] = asyncio.ensure_future(load())
        if reading.done():
            return cast("Result", reading.result())
        # One waiter that goes away must not end the reading of the others.
        try:
            result: Result = await asyncio.shield(reading)
        except BaseException:
            self._topic.readings.pop(what, None)
            raise
        return result
