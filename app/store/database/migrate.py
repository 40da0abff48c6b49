"""Migrates a database to the newest schema; safe when several processes start at once."""

from pathlib import Path

import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).parent / "migrations"

#: Held during the migration: a second process waits, then finds nothing to do.
ADVISORY_LOCK = 7_105_112

#: Time limit for the lock of a table, which a backup may hold. Readers queue behind a waiting migration and lose their
#: leases, so it makes several short tries.
TABLE_SECONDS = 3
TRIES = 8

#: The revisions of the databases made before the first release, which no migration leads on from.
UNRELEASED = {f"{number:04}" for number in range(1, 20)}


class UnknownSchema(ValueError):
    """The database is at a revision that these migrations do not know."""


def migrate(url: URL) -> None:
    """Applies every missing migration, in one transaction under an advisory lock.

    Raises UnknownSchema when another version made the database, OperationalError when the server does not answer, or
    when a table is locked in every try for half a minute.
    """
    engine = create_engine(url, poolclass=NullPool)
    for attempt in stamina.retry_context(_table_is_held, attempts=TRIES, timeout=None):
        with attempt, engine.begin() as connection:
            # Releases the locks of a process that freezes or is cut off during the migration.
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'"))
            _refuse_unknown(connection)
            upgrade(connection, "head")


def _table_is_held(error: Exception) -> bool:
    return isinstance(error, OperationalError) and isinstance(error.orig, LockNotAvailable)


def _refuse_unknown(connection: Connection) -> None:
    """By whole names: Alembic would take the beginning of one for it."""
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision in UNRELEASED:
        raise UnknownSchema(
            f"The database was made by an unreleased version of Halftime (revision {revision}) and cannot be upgraded: "
            "use an empty one, by another HALFTIME_DATABASE_URL, or another HALFTIME_DATA_DIR for the embedded one."
        )
    if revision is not None and revision not in known:
        raise UnknownSchema(
            f"The database was made by a newer version of Halftime (revision {revision}): use that version, or restore "
            "the backup."
        )


def upgrade(connection: Connection, revision: str) -> None:
    """Applies every migration up to an Alembic revision, in the caller's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
