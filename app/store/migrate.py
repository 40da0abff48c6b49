"""Brings a database to the newest schema; safe when several processes start at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool

#: Taken for the length of the migration: the second process waits, then finds nothing to do.
ADVISORY_LOCK = 7_105_112


def migrate(url: URL) -> None:
    """Applies every migration that is missing, in one transaction under an advisory lock."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        upgrade(connection, "head")


def upgrade(connection: Connection, revision: str) -> None:
    """Applies every migration up to a revision, as Alembic names it, in the caller's transaction."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
