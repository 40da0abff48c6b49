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
def test_every_posted_body_is_a_valid_request(body):
    BenchmarkRequest.model_validate_json(json.dumps(body))


def test_large_batches_exceed_docker_s_default_shared_memory_and_fit_the_documented_size():
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


def test_images_built_here_have_the_names_in_the_dockerfile():
    bases = set(re.findall(r"(?m)^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text()))
    assert bases == {standins.PYTHON}


def test_lines_that_are_not_json_objects_are_listed():
    assert no_json(['{"event": "started"}', "plain", "3", '{"event":']) == ["plain", "3", '{"event":']


def test_failed_checks_and_errors_are_recorded(capsys):
    record = Record()
    record.note("first", True, seconds=1)
    assert record.holds

    def broken():
        raise CommandFailed("no such container")

    record.attempt("second", broken)
    assert not record.holds
    assert record.checks["second"] == {"ok": False, "error": "CommandFailed: no such container"}


def test_firewall_rules_are_restored_and_new_tables_are_emptied():
    before = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n"
    came = "*nat\n:POSTROUTING ACCEPT [3:180]\n:DOCKER - [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    after = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n" + came
    assert engine.restore_input(before, after).split("\n\n") == [before.strip(), "*nat\n:POSTROUTING ACCEPT\nCOMMIT\n"]


def test_folders_of_an_engine_are_removed_and_existing_ones_stay(tmp_path, monkeypatch):
    existing, created = tmp_path / "there", tmp_path / "made"
    existing.mkdir()
    monkeypatch.setattr(engine, "OUTSIDE", [existing, created])
    with engine.nothing_left_outside():
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


def test_sigterm_undoes_the_changes_of_the_engine():
    with subprocess.Popen([sys.executable, "-c", ENDED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"began\n"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.read() == b"put back\n"
    assert run.returncode != 0
