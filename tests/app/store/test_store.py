"""The database itself: migrations, URLs, indexes."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import ValidationError
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError

from app.settings import Settings, faults
from app.store.database.connection import LIVENESS, driver_connection, libpq_url, located, place
from app.store.database.migrate import migrate, upgrade
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


def test_a_migration_never_waits_for_a_table_as_long_as_everyone_behind_it_would(empty_database_url, monkeypatch):
    monkeypatch.setattr("app.store.database.migrate.TABLE_SECONDS", 0.2)
    monkeypatch.setattr("app.store.database.migrate.TRIES", 2)
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        upgrade(connection, "0017")
    with engine.connect() as backup:
        backup.execute(text("LOCK TABLE benchmarks IN ACCESS SHARE MODE"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(empty_database_url)
    migrate(empty_database_url)
    engine.dispose()


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
