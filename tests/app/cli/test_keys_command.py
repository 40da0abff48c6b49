"""`halftime keys`, the key that the other commands send, and addresses that want one."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from app.cli import cli
from app.cli.commands.serving import refuse_open_address
from app.cli.own_service import free_port, own_environment
from app.observability.process import WRONG_SETTINGS
from app.settings import Settings
from app.store.keys import PREFIX
from halftime.client import Client


@pytest.fixture
def run(settings):
    """Runs a command on the test's own database."""

    def invoke(*arguments, **environment):
        environment = {"HALFTIME_DATABASE_URL": settings.database_url} | environment
        return CliRunner().invoke(cli, list(map(str, arguments)), env=environment)

    return invoke


def made(run, *arguments):
    """A new key, as JSON tells of it."""
    return json.loads(run("keys", "create", "ci", "--json", *arguments).stdout)


def test_a_new_key_is_all_that_goes_to_standard_output(run):
    result = run("keys", "create", "ci")
    assert result.exit_code == 0
    assert result.stdout.startswith(PREFIX)
    assert len(result.stdout.split()) == 1
    assert "not shown again" in result.stderr


def test_a_key_has_what_was_asked_for_and_is_listed_without_itself(run):
    first = made(run)
    second = made(run, "--scope", "read", "--scope", "submit", "--submits-per-hour", 7)
    assert (first["scopes"], first["submits_per_hour"]) == (["submit"], None)
    listed = run("keys", "list", "--json").stdout
    items = json.loads(listed)["items"]
    assert [item["id"] for item in items] == [first["id"], second["id"]]
    assert (items[1]["scopes"], items[1]["submits_per_hour"]) == (["read", "submit"], 7)
    for key in (first["key"], second["key"]):
        assert key not in listed
        assert key not in run("keys", "list").stdout


def test_the_first_key_needs_no_server_that_ran_before(run, empty_database_url):
    url = empty_database_url.render_as_string(hide_password=False)
    assert run("keys", "create", "ci", HALFTIME_DATABASE_URL=url).exit_code == 0


def test_revoking_ends_a_key_and_repeating_it_changes_nothing(run):
    made(run)
    key = made(run)
    first = json.loads(run("keys", "revoke", key["id"], "--json").stdout)
    again = json.loads(run("keys", "revoke", key["id"], "--json").stdout)
    assert first["revoked_at"] == again["revoked_at"] is not None
    assert key["id"] in run("keys", "list").stdout


@pytest.mark.parametrize(
    ("setting", "said"),
    [("HALFTIME_ALLOW_ANONYMOUS", "open to everyone"), ("HALFTIME_REQUIRE_API_KEY", "all requests are refused")],
)
def test_revoking_the_last_key_says_who_gets_in_then(run, setting, said):
    first, last = made(run), made(run)
    assert run("keys", "revoke", first["id"], **{setting: "true"}).stderr == ""
    assert said in run("keys", "revoke", last["id"], **{setting: "true"}).stderr


def test_revoking_the_last_key_opens_nothing(run):
    assert "all requests are refused" in run("keys", "revoke", made(run)["id"]).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["revoke", uuid.UUID(int=7)], "keys list"),
        (["revoke", "seven"], "valid UUID"),
        (["create", "ci", "--scope", "write"], "scopes"),
        (["create", "ci", "--submits-per-hour", 0], "submits_per_hour"),
        (["create", ""], "name"),
        (["create", "a\x1bb"], "name"),
        (["create", "n" * 101], "name"),
    ],
)
def test_a_usage_error_is_named_and_changes_nothing(run, arguments, said):
    result = run("keys", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert json.loads(run("keys", "list", "--json").stdout)["items"] == []


def test_a_database_that_does_not_answer_is_said_in_a_line(run):
    result = run("keys", "list", HALFTIME_DATABASE_URL="postgresql://127.0.0.1:9/none")
    assert result.exit_code == 4
    assert "halftime doctor" in result.stderr


def test_the_commands_say_which_database_they_speak_to_but_not_its_password(run, settings):
    url = settings.database_url.replace("postgresql+psycopg", "postgresql")
    secretive = f"{url}{'&' if '?' in url else '?'}password=hunter2&application_name=hunter2"
    shown = f"postgresql://{make_url(url).username or ''}"
    for command in (["keys", "create", "ci"], ["keys", "list"]):
        said = run(*command, HALFTIME_DATABASE_URL=secretive).stderr
        assert shown in said
        assert make_url(url).database in said
        assert "hunter2" not in said


@pytest.fixture
def data_dir():
    """Where there is no database yet; short, as a socket's path must be, and open to the server's own user."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


def test_a_database_that_a_key_was_made_with_is_said_to_be_new(run, data_dir):
    here = {"HALFTIME_DATABASE_URL": "", "HALFTIME_DATA_DIR": str(data_dir)}
    first, second = (run("keys", "create", "ci", **here) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert "There was no database" in first.stderr
    assert "There was no database" not in second.stderr
    for result in (first, second, run("keys", "list", **here)):
        assert f"embedded in {data_dir}" in result.stderr


@pytest.mark.parametrize("command", [["list"], ["revoke", uuid.UUID(int=7)]])
def test_only_a_new_key_makes_a_database(run, data_dir, command):
    result = run("keys", *command, HALFTIME_DATABASE_URL="", HALFTIME_DATA_DIR=str(data_dir))
    assert result.exit_code == 2
    assert str(data_dir) in result.stderr
    assert not data_dir.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gpu-node.example"])  # noqa: S104
def test_an_address_beyond_loopback_wants_a_key_or_to_be_told(settings, run, host, capsys):
    beyond = settings.model_copy(update={"host": host})
    with pytest.raises(SystemExit) as refused:
        refuse_open_address(beyond)
    assert refused.value.code == WRONG_SETTINGS
    said = capsys.readouterr().err
    assert "halftime keys create" in said
    assert "HALFTIME_ALLOW_ANONYMOUS=true" in said
    for told in ({"allow_anonymous": True}, {"require_api_key": True}, {"host": "127.0.0.1"}):
        refuse_open_address(beyond.model_copy(update=told))
    key = made(run)
    refuse_open_address(beyond)
    run("keys", "revoke", key["id"])
    refuse_open_address(beyond)


def test_where_the_database_does_not_answer_the_server_has_the_word():
    refuse_open_address(Settings(host="192.0.2.1", database_url="postgresql://127.0.0.1:9/none"))


@pytest.mark.parametrize("command", ["serve", "up"])
def test_no_process_starts_on_such_an_address(settings, command):
    environment = os.environ | {"HALFTIME_DATABASE_URL": settings.database_url, "HALFTIME_HOST": "0.0.0.0"}  # noqa: S104
    command = [sys.executable, "-m", "app.cli", command]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert result.returncode == 2
    assert "HALFTIME_ALLOW_ANONYMOUS" in result.stderr
    assert "Traceback" not in result.stderr


@contextlib.contextmanager
def serving(settings, log):
    """`halftime serve` on a free port of loopback; gives its address."""
    port = free_port()
    environment = os.environ | {"HALFTIME_DATABASE_URL": settings.database_url, "HALFTIME_PORT": str(port)}
    with (
        log.open("w") as stderr,
        subprocess.Popen([sys.executable, "-m", "app.cli", "serve"], env=environment, stderr=stderr) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        with Client(address) as client:
            while not client.ready():
                assert server.poll() is None, log.read_text()
                time.sleep(0.05)
        try:
            yield address
        finally:
            server.terminate()


def test_commands_send_the_key_of_the_environment_and_say_where_to_get_one(settings, run, tmp_path):
    key = made(run, "--scope", "read")["key"]
    with serving(settings, tmp_path / "log") as address:
        allowed = run("list", "--json", "--server", address, HALFTIME_API_KEY=f"{key}\n")
        refused = run("list", "--server", address, HALFTIME_API_KEY="")
        garbled = run("list", "--server", address, HALFTIME_API_KEY="clé")
    assert (allowed.exit_code, json.loads(allowed.stdout)["items"]) == (0, [])
    assert refused.exit_code == 2
    assert "halftime keys create" in refused.stderr
    assert "HALFTIME_API_KEY" in refused.stderr
    assert garbled.exit_code == 2
    assert "HALFTIME_API_KEY" in garbled.stderr


def test_a_service_of_its_own_needs_no_key(monkeypatch):
    monkeypatch.setenv("HALFTIME_REQUIRE_API_KEY", "true")
    monkeypatch.setenv("HALFTIME_HOST", "192.0.2.1")
    assert not Settings().open_without_keys
    for name, value in own_environment("folder", 8001).items():
        monkeypatch.setenv(name, value)
    assert Settings().open_without_keys


def test_no_log_line_shows_a_key_not_even_a_traceback(settings, database_url, run, tmp_path):
    key = made(run, "--scope", "read")["key"]
    with serving(settings, tmp_path / "log") as address:
        break_the_schema(database_url)
        # A connection each: after an unexpected error the server closes its own.
        for sent, status in ((key, 500), (f"{key}x", 401)):
            answer = httpx.get(f"{address}/benchmarks", headers={"Authorization": f"Bearer {sent}"}, trust_env=False)
            assert answer.status_code == status
    written = (tmp_path / "log").read_text()
    assert "UndefinedTable" in written
    assert key[:20] not in written


def break_the_schema(database_url):
    """Makes the server fail in a way that nobody foresaw."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE benchmarks CASCADE"))
    engine.dispose()
