"""The database itself: migrations, URLs, indexes."""

import re
import shutil
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import ValidationError
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from app.settings import Settings, faults
from app.store.database.connection import LIVENESS, driver_connection, libpq_url, located, place
from app.store.database.migrate import MIGRATIONS, migrate
from app.store.database.tables import Base


def test_many_processes_may_migrate_at_once(empty_database_url):
    faults = []

    def start():
        try:
            migrate(empty_database_url)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    engine = create_engine(empty_database_url)
    assert {"benchmarks", "events", "workers", "procrastinate_jobs"} <= set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_database_of_this_version_is_left_as_it_is(database_url):
    """Whatever a statement makes or changes, its row in the catalogue is a new one."""
    catalogue = "SELECT oid, xmin::text FROM pg_class UNION ALL SELECT oid, xmin::text FROM pg_proc ORDER BY oid"
    engine = create_engine(database_url)

    def found():
        with engine.connect() as connection:
            rows = connection.execute(text(catalogue)).all()
            return rows, connection.execute(text("SELECT id, began_at::text FROM reaper_turns")).all()

    before = found()
    migrate(database_url)
    assert found() == before
    engine.dispose()


NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "9999_next"
down_revision = "{max(MIGRATIONS.glob("versions/[0-9]*.py")).stem}"


def upgrade():
    op.add_column("benchmarks", sa.Column("added", sa.Text))
"""


@pytest.fixture
def next_migration(monkeypatch, tmp_path):
    """As if a release after this one had added a column."""
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions/9999_next.py").write_text(NEXT_MIGRATION)
    monkeypatch.setattr("app.store.database.migrate.MIGRATIONS", folder)


def test_the_next_migration_is_applied_to_a_database_of_this_version(database_url, next_migration):
    migrate(database_url)
    engine = create_engine(database_url)
    assert "added" in {column["name"] for column in inspect(engine).get_columns("benchmarks")}
    engine.dispose()


def test_a_migration_never_waits_for_a_table_as_long_as_everyone_behind_it_would(
    database_url, next_migration, monkeypatch
):
    monkeypatch.setattr("app.store.database.migrate.TABLE_SECONDS", 0.2)
    monkeypatch.setattr("app.store.database.migrate.TRIES", 2)
    engine = create_engine(database_url)
    with engine.connect() as backup:
        backup.execute(text("LOCK TABLE benchmarks IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(database_url)
    migrate(database_url)
    engine.dispose()


def test_migrations_follow_one_another_and_are_named_as_their_files():
    """A name with more than a number is none of those that unreleased versions left in databases."""
    revisions = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    named = [Path(revision.path).stem for revision in revisions]
    assert [revision.revision for revision in revisions] == named == sorted(named, reverse=True)
    assert [revision.down_revision for revision in revisions] == [*named[1:], None]
    assert all(re.fullmatch(r"\d{4}_[a-z_]{1,27}", name) for name in named), named


def test_the_migrations_make_the_tables_that_the_code_describes(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name in Base.metadata.tables}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_any_postgresql_url_is_spoken_to_with_psycopg():
    with located(Settings(database_url="postgresql://user:secret@host:5433/name")) as url:
        assert url.set(query={}).render_as_string(hide_password=False) == (
            "postgresql+psycopg://user:secret@host:5433/name"
        )


def test_a_server_that_is_gone_without_a_word_is_waited_for_as_long_as_the_url_says_and_else_for_seconds():
    with located(Settings(database_url="postgresql://host/name?connect_timeout=60&sslmode=require")) as url:
        assert url.query == LIVENESS | {"connect_timeout": "60", "sslmode": "require"}
        assert "tcp_user_timeout=10000" in libpq_url(url)


@pytest.mark.anyio
async def test_a_connection_has_these_limits(database):
    async with database.sessions() as session:
        connection = await driver_connection(session)
        assert connection.info.get_parameters().items() >= LIVENESS.items()


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "mysql://u:hunter2@h/d", "localhost", "postgresql://u:hunter2@h:p/d"]
)
def test_a_url_that_names_no_postgresql_is_refused_without_its_password(url):
    with pytest.raises(ValidationError) as refused:
        Settings(database_url=url)
    said = faults(refused.value)
    assert said.startswith("HALFTIME_DATABASE_URL: ")
    assert "postgresql://" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "embedded in /data"),
        ("postgresql+psycopg://u:hunter2@h:5433/d?sslmode=require&password=hunter2", "postgresql://u@h:5433/d"),
        ("postgres:///d?host=/run/postgresql&sslpassword=hunter2", "postgresql:///d?host=%2Frun%2Fpostgresql"),
    ],
)
def test_a_database_is_named_without_secrets(url, said):
    assert place(Settings(database_url=url, data_dir="/data")) == said


def test_a_tilde_of_an_environment_file_is_the_home_directory(monkeypatch):
    monkeypatch.setenv("HALFTIME_DATA_DIR", "~/halftime")
    assert Settings().data_dir == Path.home() / "halftime"


def test_a_label_lookup_uses_its_index(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(text("""EXPLAIN SELECT id FROM benchmarks WHERE labels @> '{"a": "b"}'""")).scalars()
        assert "benchmarks_labels" in "\n".join(plan)
    engine.dispose()
