"""`halftime migrate`, on real databases."""

import pytest
from sqlalchemy import create_engine, inspect, text
from typer.testing import CliRunner

from app.cli import cli


def migrate(url):
    return CliRunner().invoke(cli, ["migrate"], env={"HALFTIME_DATABASE_URL": url})


@pytest.fixture
def engine(empty_database_url):
    engine = create_engine(empty_database_url)
    yield engine
    engine.dispose()


def written(engine):
    return engine.url.render_as_string(hide_password=False)


def test_an_empty_database_gets_the_schema_and_the_command_ends(engine):
    result = migrate(written(engine))
    assert result.exit_code == 0, result.output
    assert {"benchmarks", "procrastinate_jobs"} <= set(inspect(engine).get_table_names())


def test_repeating_it_is_harmless_and_says_the_schema(engine):
    first, again = migrate(written(engine)), migrate(written(engine))
    with engine.connect() as connection:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert (again.exit_code, again.stderr) == (0, first.stderr)
    assert revision in again.stderr


def test_a_newer_database_is_refused_and_left_as_it_is(engine):
    migrate(written(engine))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_later'"))
    result = migrate(written(engine))
    assert result.exit_code == 2
    assert "newer Halftime" in result.stderr
    assert "9999_later" in result.stderr
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999_later"


@pytest.mark.parametrize(
    ("url", "exit_code", "said"),
    [
        ("postgresql://127.0.0.1:9/none", 4, "The database was not migrated: "),
        ("mysql://127.0.0.1/none", 2, "HALFTIME_DATABASE_URL: "),
    ],
)
def test_a_database_that_cannot_be_migrated_is_said_in_a_line(url, exit_code, said):
    result = migrate(url)
    assert result.exit_code == exit_code
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1
