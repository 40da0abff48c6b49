"""`halftime migrate`, on real databases."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, inspect, text
from typer.testing import CliRunner

from app.cli import cli
from app.cli.own_service import free_port
from app.observability.process import WRONG_SETTINGS


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


@pytest.fixture(
    params=[("9999_later", "newer version"), ("0019", "unreleased version"), ("0001", "unreleased version")]
)
def other(request, database_url):
    """The URL of a database that another version made, its revision, and what is said of it."""
    revision, said = request.param
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :name"), {"name": revision})
    yield written(engine), revision, said
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == revision
    engine.dispose()


def test_a_database_of_another_version_is_refused_and_left_as_it_is(other):
    url, revision, said = other
    result = migrate(url)
    assert result.exit_code == 2
    assert said in result.stderr
    assert f"revision {revision}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    ["app.cli serve", "app.cli up --device cpu", "app.cli worker", "worker run --device cpu", "app.cli keys list"],
)
@pytest.mark.parametrize("other", [("0019", "unreleased version")], indirect=True)
def test_no_process_starts_on_such_a_database_and_a_line_says_why(other, command):
    url, _, said = other
    environment = os.environ | {"HALFTIME_DATABASE_URL": url, "HALFTIME_PORT": str(free_port())}
    result = subprocess.run(
        [sys.executable, "-m", *command.split()],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )
    assert result.returncode == WRONG_SETTINGS
    assert said in result.stderr
    assert "Traceback" not in result.stderr


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
