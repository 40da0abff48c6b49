"""Parts of `make images` that need no engine."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from halftime.contract.request.request import BenchmarkRequest
from testing.images import composed, engine, requests, standins
from testing.images.commands import CommandFailed
from testing.images.containers import no_json
from testing.images.record import Record

ROOT = Path(__file__).parent.parent
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKER_SHARES_BYTES, DOCUMENTED_BYTES = 64 * 2**20, 2**30


@pytest.mark.parametrize("body", [requests.SHORT, requests.LONG, requests.BLOCKS, requests.COMPILED])
def test_what_is_posted_is_a_request(body):
    BenchmarkRequest.model_validate_json(json.dumps(body))


def test_the_large_batches_outgrow_what_docker_shares_and_fit_what_is_documented():
    request = BenchmarkRequest.model_validate_json(json.dumps(requests.LARGE_BATCHES))
    batch = request.config.training.batch_size * request.model.input_size * 4
    ready = batch * 2 * request.config.data.loader.workers
    assert DOCKER_SHARES_BYTES < batch < ready < DOCUMENTED_BYTES


def test_the_services_named_are_those_of_the_compose_file():
    started = {name for name, service in SERVICES.items() if "cpu" in service.get("profiles", ["cpu"])}
    assert set(composed.SERVICES) == started
    assert set(yaml.safe_load(composed.OVERRIDE)["services"]) == {name for name in started if "build" in SERVICES[name]}
    url = SERVICES["worker-cpu"]["environment"]["HALFTIME_DATABASE_URL"]
    assert re.sub(r"\$\{\w+:-(\w+)\}", r"\1", url) == composed.DATABASE_URL
    assert SERVICES["postgres"]["image"] == standins.POSTGRES


def test_the_images_made_here_are_under_the_names_that_the_dockerfile_has():
    bases = set(re.findall(r"(?m)^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text()))
    assert bases == {standins.PYTHON}


def test_lines_that_are_no_json_objects_are_found():
    assert no_json(['{"event": "started"}', "plain", "3", '{"event":']) == ["plain", "3", '{"event":']


def test_a_check_that_does_not_hold_and_one_that_cannot_be_made_are_kept(capsys):
    record = Record()
    record.note("first", True, seconds=1)
    assert record.holds

    def broken():
        raise CommandFailed("no such container")

    record.attempt("second", broken)
    assert not record.holds
    assert record.checks["second"] == {"ok": False, "error": "CommandFailed: no such container"}


def test_rules_of_the_network_are_restored_and_tables_that_came_are_emptied():
    before = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n"
    came = "*nat\n:POSTROUTING ACCEPT [3:180]\n:DOCKER - [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    after = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n" + came
    assert engine._restoring(before, after).split("\n\n") == [before.strip(), "*nat\n:POSTROUTING ACCEPT\nCOMMIT\n"]


def test_folders_that_an_engine_makes_go_and_those_that_were_there_stay(tmp_path, monkeypatch):
    existing, created = tmp_path / "there", tmp_path / "made"
    existing.mkdir()
    monkeypatch.setattr(engine, "OUTSIDE", [existing, created])
    with engine._nothing_left_outside():
        (created / "plugins").mkdir(parents=True)
    assert (existing.exists(), created.exists()) == (True, False)


ENDED = """
import contextlib, sys, time
import testing.images.__main__ as images

@contextlib.contextmanager
def engine(folder):
    try:
        print("began", flush=True)
        time.sleep(600)
        yield
    finally:
        print("put back", flush=True)

images.engine = engine
sys.argv = ["images"]
images.main()
"""


def test_sigterm_puts_back_what_the_engine_changed():
    with subprocess.Popen([sys.executable, "-c", ENDED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"began\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.read() == b"put back\n"
    assert run.returncode != 0
