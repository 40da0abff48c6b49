"""Migrates a database to the newest schema; safe when several processes start at once."""

from pathlib import Path

import stamina
from alembic import command
from alembic.config import Config
from psycopg.errors import LockNotAvailable
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

#: Held during the migration: a second process waits, then finds nothing to do.
ADVISORY_LOCK = 7_105_112

#: Time limit for the lock of a table, which a backup may hold. Readers queue behind a waiting migration and lose their
#: leases, so it makes several short tries.
TABLE_SECONDS = 3
TRIES = 8


def migrate(url: URL) -> None:
    """Applies every missing migration, in one transaction under an advisory lock.

    Raises OperationalError when the server does not answer, or when a table is locked in every try for half a minute.
    """
    engine = create_engine(url, poolclass=NullPool)
    for attempt in stamina.retry_context(_table_is_held, attempts=TRIES, timeout=None):
        with attempt, engine.begin() as connection:
            # Releases the locks of a process that freezes or is cut off during the migration.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'"))
            upgrade(connection, "head")


def _table_is_held(error: Exception) -> bool:
    return isinstance(error, OperationalError) and isinstance(error.orig, LockNotAvailable)


def upgrade(connection: Connection, revision: str) -> None:
    """Applies every migration up to an Alembic revision, in the caller's transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
