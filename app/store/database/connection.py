"""Connections to the database: an external PostgreSQL by URL, or the embedded one."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import structlog
from psycopg import AsyncConnection
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.settings import Settings
from app.store.database.embedded import embedded_server, revive
from app.store.database.migrate import migrate

log = structlog.get_logger(__name__)

#: Detects within seconds that the other end of a connection is gone. Keepalives apply to an idle connection; sent data
#: that is not acknowledged blocks it for a quarter of an hour unless `tcp_user_timeout` (ms) is set.
LIVENESS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

#: Times are returned in UTC. The timeout limits how long a process that freezes or is cut off inside a transaction
#: holds its locks; it is shorter than a lease, so that other processes do not lose theirs.
CONNECTION = {"options": "-c timezone=UTC -c idle_in_transaction_session_timeout=10s"}


@dataclass(frozen=True)
class Database:
    """An open database with its connections."""

    url: URL
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    #: Sessions for a single SELECT without a transaction, which would cost two more round trips.
    reading: async_sessionmaker[AsyncSession]
    #: Data directory of the embedded server; None for an external one.
    data_dir: Path | None

    async def recover(self) -> None:
        """Restarts the embedded server if it was killed. Logs errors, because the caller repeats this."""
        if self.data_dir is None:
            return
        try:
            await anyio.to_thread.run_sync(revive, self.data_dir)
        except Exception as error:
            log.warning("could not restart the embedded PostgreSQL", error=str(error))


@contextlib.asynccontextmanager
async def open_database(settings: Settings, *, pool_size: int) -> AsyncIterator[Database]:
    """Starts the embedded server if no URL is set, migrates the schema, and opens connections.

    Raises ValueError when the embedded server does not start, UnknownSchema when another version made the database,
    OperationalError when the server does not answer.
    """
    with contextlib.ExitStack() as stack:
        url = await anyio.to_thread.run_sync(stack.enter_context, located(settings))
        await anyio.to_thread.run_sync(migrate, url)
        engine = create_async_engine(
            url, pool_size=pool_size, max_overflow=0, pool_pre_ping=True, connect_args=CONNECTION
        )
        try:
            data_dir = settings.data_dir if settings.database_url is None else None
            sessions = async_sessionmaker(engine, expire_on_commit=False)
            reading = async_sessionmaker(engine.execution_options(isolation_level="AUTOCOMMIT"), expire_on_commit=False)
            yield Database(url, engine, sessions, reading, data_dir)
        finally:
            await engine.dispose()


@contextlib.contextmanager
def located(settings: Settings) -> Iterator[URL]:
    """Yields the URL of the database; without a URL in the settings, runs the embedded server during the block.

    Timeouts that the URL does not set are added. Raises ValueError when the embedded server does not start.
    """
    if settings.database_url is None:
        with embedded_server(settings.data_dir) as url:
            yield url
        return
    url = make_url(settings.database_url)
    yield url.set(drivername="postgresql+psycopg", query=LIVENESS | url.query)


def place(settings: Settings) -> str:
    """Describes the database of the settings for people, without the secrets of a URL."""
    if settings.database_url is None:
        return f"embedded in {settings.data_dir}"
    url = make_url(settings.database_url)
    shown = {name: value for name, value in url.query.items() if name in {"host", "port", "dbname", "service"}}
    return libpq_url(url.set(query=shown)._replace(password=None))


def libpq_url(url: URL) -> str:
    """Returns the URL in libpq's format, for connections outside SQLAlchemy."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def driver_connection(session: AsyncSession) -> AsyncConnection:
    """Returns the psycopg connection of a session, inside its transaction."""
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    assert isinstance(raw.driver_connection, AsyncConnection)
    return raw.driver_connection
