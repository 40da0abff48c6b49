"""Where the database is, and how to talk to it: an external PostgreSQL by URL, or the embedded one."""

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

#: So that a connection whose other end is gone without a word ends within seconds. Keepalives are for one that rests;
#: what was sent and is never acknowledged holds for a quarter of an hour unless `tcp_user_timeout` (ms) says otherwise.
LIVENESS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

#: Times come back in UTC, whatever the server's own zone. A process that is frozen or cut off inside a transaction
#: holds its locks no longer than this: for less than a lease, or others would lose theirs.
CONNECTION = {"options": "-c timezone=UTC -c idle_in_transaction_session_timeout=10s"}


@dataclass(frozen=True)
class Database:
    """An open database."""

    url: URL
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    #: For a single SELECT: without a transaction around it, which would cost two more round trips.
    reading: async_sessionmaker[AsyncSession]
    #: Of the embedded server; None for an external one.
    data_dir: Path | None

    async def recover(self) -> None:
        """Starts the embedded server again if it was killed. Raises nothing: whoever calls does so again."""
        if self.data_dir is None:
            return
        try:
            await anyio.to_thread.run_sync(revive, self.data_dir)
        except Exception as error:
            log.warning("the embedded PostgreSQL could not be started again", error=str(error))


@contextlib.asynccontextmanager
async def open_database(settings: Settings, *, pool_size: int) -> AsyncIterator[Database]:
    """Starts the embedded server where no URL is set, migrates, and opens connections.

    Raises ValueError where the embedded server does not start, UnknownSchema where another version made the database,
    OperationalError where the server does not answer.
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
    """The URL of the database; holds the embedded server, where no URL is set, for the length of the block.

    What the URL does not say of how long a silent server is waited for is added.
    Raises ValueError where the embedded server does not start.
    """
    if settings.database_url is None:
        with embedded_server(settings.data_dir) as url:
            yield url
        return
    url = make_url(settings.database_url)
    yield url.set(drivername="postgresql+psycopg", query=LIVENESS | url.query)


def place(settings: Settings) -> str:
    """Which database the settings name, for people to read: of a URL only what holds no secret."""
    if settings.database_url is None:
        return f"embedded in {settings.data_dir}"
    url = make_url(settings.database_url)
    shown = {name: value for name, value in url.query.items() if name in {"host", "port", "dbname", "service"}}
    return libpq_url(url.set(query=shown)._replace(password=None))


def libpq_url(url: URL) -> str:
    """The URL as libpq writes it, for connections outside SQLAlchemy."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def driver_connection(session: AsyncSession) -> AsyncConnection:
    """The psycopg connection under a session, inside its transaction."""
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    assert isinstance(raw.driver_connection, AsyncConnection)
    return raw.driver_connection
