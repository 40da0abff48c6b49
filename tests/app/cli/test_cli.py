"""The command line: requests from files, exit codes, errors in one line."""

import json
import os
import platform
import re
import subprocess
import sys
import time

import psutil
import pytest
import typer
import yaml

from app.cli import main
from app.cli.exit_codes import EXIT_CODES, NO_REPORT, OUTPUT_CLOSED, UNEXPECTED_ERROR
from app.cli.requests import read_request
from testing.processes import children
from testing.processes import command as command_line

MLP = {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1}
QUICK = {
    "device": "cpu",
    "training": {"batch_size": 16, "steps": 6, "warmup_steps": 2},
    "measurement": {"min_blocks": 2, "max_blocks": 2},
}


def halftime(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
        timeout=120,
    )


def test_a_request_is_read_from_json_and_yaml_alike(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"model": MLP}))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"model": MLP}))
    assert read_request(tmp_path / "a.json", []) == read_request(tmp_path / "a.yaml", []) == {"model": MLP}


def test_set_reaches_every_section_and_config_by_default(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"model": {"kind": "mlp"}}))
    overrides = ["training.batch_size=64", "model.num_layers=2", "requirements.min_speedup=null", "priority=5"]
    assert read_request(path, overrides) == {
        "model": {"kind": "mlp", "num_layers": 2},
        "config": {"training": {"batch_size": 64}},
        "requirements": {"min_speedup": None},
        "priority": 5,
    }


@pytest.mark.parametrize(("text", "said"), [("[]", "must be an object"), ("{", "is not JSON: line 1")])
def test_a_file_that_is_no_request_is_a_usage_error(tmp_path, text, said):
    path = tmp_path / "bad.json"
    path.write_text(text)
    result = halftime("run", path)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_numbers_and_dates_are_read_as_json_has_them(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"config": {"training": {"learning_rate": 1e-3}}, "labels": {"day": 2026-11-23, "n": "1e-3"}}')
    assert read_request(path, ["training.weight_decay=1E-2"]) == {
        "config": {"training": {"learning_rate": 0.001, "weight_decay": 0.01}},
        "labels": {"day": "2026-11-23", "n": "1e-3"},
    }


def test_set_and_label_reach_the_request_of_a_sweep(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("request: {model: {kind: mlp}}\nvary: {batch_sizes: [8]}")
    body = read_request(path, ["training.steps=9"], {"team": "a"})
    assert body["request"] == {
        "model": {"kind": "mlp"},
        "config": {"training": {"steps": 9}},
        "labels": {"team": "a"},
    }


@pytest.mark.parametrize("override", ["training.steps", "training.steps={", "model.kind.name=1", "x=.nan"])
def test_a_set_that_cannot_be_is_a_usage_error(tmp_path, override):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"model": MLP}))
    with pytest.raises(typer.Exit) as caught:
        read_request(path, [override])
    assert caught.value.exit_code == 2


#: How a headline begins where the CPU has no half-precision arithmetic.
EMULATED = r"# (.* has no BF16 arithmetic and emulates it: )?"


def test_run_brings_its_own_service_and_exits_with_the_verdict(tmp_path):
    request = tmp_path / "job.json"
    request.write_text(json.dumps({"model": MLP, "config": QUICK}))
    report = tmp_path / "report.json"
    result = halftime("run", request, "--output", report, "--output", tmp_path / "report.md")
    found = json.loads(report.read_text())
    assert result.returncode == EXIT_CODES[found["verdict"]], result.stderr
    assert "bf16 against fp32" in result.stdout
    assert re.match(EMULATED + "BF16 is ", (tmp_path / "report.md").read_text())


def test_run_that_is_killed_takes_its_service_along(tmp_path):
    request = tmp_path / "job.json"
    request.write_text(json.dumps({"model": {"kind": "mlp"}, "config": QUICK | {"training": {"steps": 10_000}}}))
    with subprocess.Popen([sys.executable, "-m", "app.cli", "run", str(request)], stderr=subprocess.DEVNULL) as command:
        try:
            process = psutil.Process(command.pid)
            while not any("forkserver" in " ".join(command_line(child)) for child in children(process, recursive=True)):
                time.sleep(0.1)
            family = process.children(recursive=True)
        finally:
            command.kill()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def test_an_invalid_request_names_the_place_of_the_fault_before_a_service_is_started(tmp_path):
    request = tmp_path / "job.json"
    request.write_text(json.dumps({"model": MLP, "config": QUICK}))
    result = halftime("run", request, "--set", "training.steps=0")
    assert result.returncode == 2
    assert result.stderr.startswith(f"{request} is not a valid request:\n  /config/training/steps: ")


def test_a_server_that_is_not_there_is_said_in_a_line_with_the_remedy():
    result = halftime("list", "--server", "http://127.0.0.1:9")
    assert result.returncode == 4
    assert "halftime up" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_setting_is_named():
    result = halftime("serve", HALFTIME_PORT="many")
    assert result.returncode == 2
    assert "HALFTIME_PORT" in result.stderr


def test_a_worker_without_its_device_says_what_to_do():
    result = halftime("worker", "--device", "cuda:7")
    assert result.returncode == 1
    assert "nvidia-smi" in result.stderr
    assert "Traceback" not in result.stderr


#: Codes that mean a verdict; none of them may end a command that gave none.
VERDICTS = set(EXIT_CODES.values()) - {NO_REPORT}


def test_an_error_of_the_command_itself_is_no_verdict(monkeypatch, capsys):
    monkeypatch.setattr("app.cli.commands.running.read_request", lambda *_: 1 / 0)
    monkeypatch.setattr("sys.argv", ["halftime", "run", __file__])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == UNEXPECTED_ERROR
    assert UNEXPECTED_ERROR not in VERDICTS
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "not a result" in shown


@pytest.mark.parametrize("arguments", ["doctor", "doctor --json"])
def test_output_that_nobody_reads_is_no_verdict(settings, arguments):
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"HALFTIME_DATABASE_URL": settings.database_url, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "app.cli", *arguments.split()]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writing)
    assert ended.returncode == OUTPUT_CLOSED, ended.stderr
    assert OUTPUT_CLOSED not in VERDICTS


def test_doctor_says_what_this_machine_offers(settings):
    result = halftime("doctor", "--json", HALFTIME_DATABASE_URL=settings.database_url)
    findings = {finding["part"]: finding for finding in json.loads(result.stdout)}
    assert result.returncode == 0
    assert findings["database (external)"]["state"].startswith("PostgreSQL")
    assert "bf16" in findings["cpu"]["state"]
    assert "tf32" in findings["cpu"]["remedy"]
    assert findings["cpu"]["state"].startswith("fp32 ")
    assert "FLOP/s" in findings["cpu"]["state"]
    assert "a launch" in findings["cpu"]["state"]
    assert findings["cpu"]["ceilings"]["flops_per_second"]["fp32"] > 0
    assert {one["precision"] for one in findings["cpu"]["precisions"]} == {"fp32", "tf32", "fp16", "bf16", "bf16-true"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="no x86 CPU")
def test_doctor_tells_the_remedy_of_an_emulated_precision_and_finds_no_fault(settings):
    avx2_only = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "COLUMNS": "60"}
    result = halftime("doctor", HALFTIME_DATABASE_URL=settings.database_url, **avx2_only)
    assert result.returncode == 0, result.stdout
    assert "bf16 emulated" in " ".join(cells_of(result.stdout, 1))
    assert "Use fp32 here; bf16 needs a CUDA GPU" in " ".join(cells_of(result.stdout, 2))


def cells_of(table, column):
    """The words of a column of a table whose cells go on in the next line."""
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    return [word for row in rows for word in row[1 + column].split()]
