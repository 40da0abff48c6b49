"""`halftime serve` as a process: what it logs, and what it refuses before the app sees it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from app.cli.own_service import free_port
from app.observability.process import WRONG_SETTINGS

PATIENCE_SECONDS = 60


@pytest.fixture
def served(database_url, tmp_path):
    """A client of a server that logs JSON, and the file of its log."""
    port, log = free_port(), tmp_path / "serve.log"
    environment = os.environ | {
        "HALFTIME_DATABASE_URL": database_url.set(drivername="postgresql").render_as_string(hide_password=False),
        "HALFTIME_HOST": "127.0.0.1",
        "HALFTIME_PORT": str(port),
        "HALFTIME_LOG_FORMAT": "json",
    }
    with log.open("w") as stderr:
        process = subprocess.Popen([sys.executable, "-m", "app.cli", "serve"], env=environment, stderr=stderr)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            wait_until_ready(http, log)
            yield http, log
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0


def wait_until_ready(http, log):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if http.get("/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(log.read_text())


def test_every_line_is_json_and_no_secret_is_in_any(served):
    http, log = served
    answer = http.get(
        "/benchmarks/x?label=hunter2:x", headers={"Authorization": "Bearer hunter2", "X-Request-ID": "r-7"}
    )
    assert answer.json()["request_id"] == "r-7"
    padded = http.get("/", headers={"X-Padding": "hunter2" * 10_000})
    assert padded.status_code in {200, 400}  # refused, unless all of it lies there at the first look
    assert http.get("/livez").status_code == 200, "a refused request must leave the server serving"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"timestamp", "level", "logger", "event"} <= set(line) for line in lines)
    (line,) = [line for line in lines if line.get("request_id") == "r-7"]
    assert line["event"] == "request"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/benchmarks/{benchmark_id}", 422)
    assert "hunter2" not in log.read_text()


@pytest.mark.parametrize(
    ("command", "log_format"),
    [
        ("app.cli up", "json"),
        ("app.cli serve", "json"),
        ("app.cli serve", "console"),
        ("app.cli worker", "json"),
        ("worker run --device cpu", "json"),
    ],
)
def test_a_wrong_setting_is_named_in_the_format_of_the_log(command, log_format):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        env=os.environ | {"HALFTIME_PORT": "eighty", "HALFTIME_LOG_FORMAT": log_format},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stdout) == (WRONG_SETTINGS, "")
    (line,) = done.stderr.splitlines()
    said = json.loads(line)["event"] if log_format == "json" else line
    assert said.startswith("HALFTIME_PORT: ")


@pytest.fixture
def mute_database():
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_SECONDS)
        yield server


def test_a_worker_that_is_stopped_while_it_starts_ends_well(mute_database):
    port = mute_database.getsockname()[1]
    worker = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "worker", "--device", "cpu"],
        env=os.environ | {"HALFTIME_DATABASE_URL": f"postgresql://127.0.0.1:{port}/d?connect_timeout=2"},
    )
    connection, _ = mute_database.accept()
    with connection:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_SECONDS) == 0
