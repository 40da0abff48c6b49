"""The database itself: migrations, the embedded server, URLs."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from app.settings import Settings
from app.store.database import locate
from app.store.migrate import migrate
from app.store.tables import Base


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
    url = locate(Settings(database_url="postgresql://user:secret@host:5433/name"))
    assert url.render_as_string(hide_password=False) == "postgresql+psycopg://user:secret@host:5433/name"


def test_a_url_of_another_database_is_refused():
    with pytest.raises(ValueError, match="HALFTIME_DATABASE_URL must begin with postgresql"):
        locate(Settings(database_url="sqlite:///x.db"))


def test_a_label_lookup_uses_its_index(database_url):
    engine = create_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.execute(text("""EXPLAIN SELECT id FROM benchmarks WHERE labels @> '{"a": "b"}'""")).scalars()
        assert "benchmarks_labels" in "\n".join(plan)
    engine.dispose()
