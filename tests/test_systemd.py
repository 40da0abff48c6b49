"""Systemd units, checked without a running systemd."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.background import queues
from app.cli.commands.serving import STREAMS_SECONDS
from app.settings import Settings
from tests.commands import parse
from worker.agent.worker import GRACE_SECONDS

FOLDER = Path(__file__).parent.parent / "deploy" / "systemd"
API, WORKER = FOLDER / "halftime-api.service", FOLDER / "halftime-worker@.service"
each_unit = pytest.mark.parametrize("unit", [API, WORKER], ids=lambda path: path.name)

#: Time for the rest of stopping: closing connections, and for a worker the end of a trial.
SETTLING_SECONDS = 10


def _sections(unit):
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read_string(unit.read_text())
    return parser


def _service(unit):
    return _sections(unit)["Service"]


@each_unit
def test_every_unit_starts_a_command_that_exists(unit):
    program, *arguments = _service(unit)["ExecStart"].replace("%i", "cuda:0").split()
    parse([Path(program).name, *arguments])


@each_unit
def test_every_unit_says_to_install_the_extra_that_its_command_needs(unit):
    extra = "worker" if unit == WORKER else "server"
    text = " ".join(unit.read_text().replace("#", "").split())
    assert f"pip install --constraint constraints.txt '.[{extra}]'" in text


def test_a_worker_takes_the_device_that_its_instance_names():
    assert _service(WORKER)["ExecStart"].endswith(" worker --device %i")


@each_unit
def test_a_failed_unit_is_restarted_without_limit_after_growing_pauses(unit):
    service = _service(unit)
    assert (service["Restart"], _sections(unit)["Unit"]["StartLimitIntervalSec"]) == ("on-failure", "0")
    assert 0 < int(service["RestartSec"]) < int(service["RestartMaxDelaySec"])
    assert int(service["RestartSteps"]) > 1


@each_unit
def test_wrong_settings_are_named_and_not_retried(unit):
    _, *arguments = _service(unit)["ExecStart"].replace("%i", "cpu").split()
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=os.environ | {"HALFTIME_LOG_FORMAT": "json", "HALFTIME_DATABASE_URL": "mysql://u:hunter2@h/d"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert str(done.returncode) == _service(unit)["RestartPreventExitStatus"]
    assert "HALFTIME_DATABASE_URL" in json.loads(done.stderr)["event"]
    assert "hunter2" not in done.stderr


def test_the_stop_timeout_covers_what_the_code_needs():
    api, worker = (int(_service(unit)["TimeoutStopSec"]) for unit in (API, WORKER))
    assert api >= STREAMS_SECONDS + queues.GRACE_SECONDS + queues.SETTLING_SECONDS + SETTLING_SECONDS
    assert worker >= GRACE_SECONDS + SETTLING_SECONDS


def test_a_stopping_worker_ends_its_trials_itself():
    assert _service(WORKER)["KillMode"] == "mixed"


def test_a_worker_outlives_a_trial_that_runs_out_of_memory():
    assert _service(WORKER)["OOMPolicy"] == "continue"


@each_unit
def test_units_run_as_a_user_without_rights(unit):
    service = _service(unit)
    assert service["User"] == service["Group"] == "halftime"
    assert service["CapabilityBoundingSet"] == ""
    for switch in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID", "ProtectKernelTunables"):
        assert service[switch] == "yes", switch
    assert service["ProtectSystem"] == "strict"


def test_workers_lock_their_gpus_where_they_all_may_write():
    service = _service(WORKER)
    name, _, folder = service["Environment"].partition("=")
    assert name == "HALFTIME_LOCK_DIR"
    assert Path(folder).parent == Path("/var/lib") / service["StateDirectory"]


def test_nothing_hides_the_gpu_from_a_worker():
    hiding = {"PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy", "MemoryDenyWriteExecute", "ProtectProc"}
    assert hiding.isdisjoint(_service(WORKER))


def test_the_environment_names_the_database_and_only_settings():
    example = (FOLDER / "halftime.env.example").read_text()
    named = set(re.findall(r"^(HALFTIME_\w+)=", example, re.MULTILINE))
    assert "HALFTIME_DATABASE_URL" in named
    assert named <= {f"HALFTIME_{field.upper()}" for field in Settings.model_fields}
    for unit in (API, WORKER):
        # No dash: a unit whose environment file is missing must not start on a database of its own.
        assert _service(unit)["EnvironmentFile"] == example.split()[1].rstrip(",")


def test_keys_are_created_in_the_database_of_the_units():
    pages = (FOLDER.parents[1] / "docs" / "operations.md").read_text()
    (line,) = re.findall(r"^\$ sudo (systemd-run (?:.*\\\n)*.*)$", pages, re.MULTILINE)
    words = shlex.split(line)
    for unit in (API, WORKER):
        service = _service(unit)
        program = service["ExecStart"].split()[0]
        assert f"--property=EnvironmentFile={service['EnvironmentFile']}" in words
        assert {f"--uid={service['User']}", f"--gid={service['Group']}"} <= set(words)
        assert program in words
    parse(["halftime", *words[words.index(program) + 1 :]])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@each_unit
def test_systemd_accepts_the_unit(unit, tmp_path):
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/halftime/bin/halftime", shutil.which("true")))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    # Systemd before 254 warns that it does not know these two settings, and ignores them.
    errors = [line for line in done.stderr.splitlines() if not re.search("RestartSteps|RestartMaxDelaySec", line)]
    assert (done.returncode, errors) == (0, [])
