"""Processes that may not start on an embedded database, as in the images of API and worker, and those without torch."""

import importlib.util

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app.cli import cli
from app.cli.commands import migrating, serving
from app.cli.own_service import own_environment
from app.settings import Settings

URL = "postgresql://halftime@192.0.2.1/halftime"


@pytest.fixture
def forbidden(monkeypatch):
    """No embedded database, as in the images."""
    monkeypatch.delenv("HALFTIME_DATABASE_URL", raising=False)
    monkeypatch.setenv("HALFTIME_EMBEDDED_DATABASE", "false")
    monkeypatch.setenv("HALFTIME_DATA_DIR", "/var/lib/halftime")


@pytest.fixture
def run(monkeypatch):
    """Runs a command that may not come to where it does what it is for."""

    def too_far(*_, **__):
        pytest.fail("it went on")

    for where, what in [(serving.os, "execv"), (serving.uvicorn, "run"), (serving, "supervise")]:
        monkeypatch.setattr(where, what, too_far)
    monkeypatch.setattr(migrating, "in_database", too_far)
    # They would hold for whatever test this process runs next.
    monkeypatch.setattr(serving, "configure_logs", lambda log_format: None)
    monkeypatch.setattr(serving, "end_well_on_sigterm", lambda: None)
    return lambda *arguments: CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize("command", [["serve"], ["up"], ["worker"], ["worker", "--device", "cpu"], ["migrate"]])
def test_no_command_starts_without_a_database(forbidden, run, command):
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr.startswith("HALFTIME_DATABASE_URL: not set")
    assert "postgresql://USER:PASSWORD@HOST/DATABASE" in result.stderr
    assert "misspelt" not in result.stderr, "HALFTIME_DATA_DIR, which is alike, is a setting"


@pytest.mark.parametrize("name", ["HALFTIME_DATABSE_URL", "HALFTIME_DB_URL", "DATABASE_URL"])
def test_the_name_that_may_be_meant_is_said_and_its_value_is_not(forbidden, monkeypatch, run, name):
    monkeypatch.setenv(name, URL)
    said = run("migrate").stderr
    assert f" {name} is not a setting" in said
    assert URL not in said


def test_a_database_of_its_own_is_all_that_is_asked_for(forbidden, monkeypatch):
    with pytest.raises(ValidationError, match="HALFTIME_EMBEDDED_DATABASE"):
        Settings()
    monkeypatch.setenv("HALFTIME_DATABASE_URL", URL)
    assert Settings().database_url == URL
    monkeypatch.setenv("HALFTIME_DATABASE_URL", "")
    monkeypatch.setenv("HALFTIME_EMBEDDED_DATABASE", "true")
    assert Settings().database_url is None


def test_a_service_of_its_own_has_its_database_even_there(forbidden, monkeypatch):
    for name in {"HALFTIME_DATABASE_URL", "HALFTIME_EMBEDDED_DATABASE"} - own_environment("folder", 8001).keys():
        monkeypatch.delenv(name, raising=False)
    assert Settings().database_url is None


@pytest.mark.parametrize("command", [["up", "--device", "cpu"], ["worker"], ["worker", "--device", "cpu"]])
def test_without_torch_no_worker_starts_and_a_line_says_what_to_install(monkeypatch, run, command):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    result = run(*command)
    assert result.exit_code == 2
    assert result.stderr == "A worker needs torch: pip install 'halftime[worker]', or use the worker image.\n"
