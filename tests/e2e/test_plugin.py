"""The example plugin, installed from its folder and submitted over HTTP to real processes."""

import json
import subprocess
import sys

import pytest

from app.cli.exit_codes import EXIT_CODES, NO_REPORT
from tests.conftest import EXAMPLE_PLUGIN, a_service


@pytest.fixture(scope="module")
def service(example, postgres, migrated_template, tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(example))
        with a_service(postgres, migrated_template, tmp_path_factory) as service:
            yield service


def run(service, tmp_path, request, *settings):
    """Runs a request of the example package; None without a report."""
    path = tmp_path / "report.json"
    command = [sys.executable, "-m", "app.cli", "run", EXAMPLE_PLUGIN / request, "--output", path]
    command += ["--server", service.url]
    few = ("measurement.min_blocks=2", "measurement.max_blocks=2", "measurement.pairing=trials", "explain=false")
    options = [part for setting in (*settings, *few) for part in ("--set", setting)]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=240)
    return ended, json.loads(path.read_text()) if path.exists() else None


def test_the_example_runs_end_to_end(service, tmp_path):
    ended, report = run(service, tmp_path, "request.json", "training.steps=20")
    assert ended.returncode == EXIT_CODES[report["verdict"]] != EXIT_CODES["invalid"], ended.stderr
    assert report["model"]["name"] == "gated-mlp"
    assert report["data"]["best_possible_accuracy"] == 1.0
    assert report["attestation"]["ok"]


@pytest.mark.parametrize(
    ("request_file", "metrics"),
    [("towers.json", ["retrieval_accuracy"]), ("detector.json", ["mean_matched_iou", "class_accuracy"])],
)
def test_a_task_s_own_metrics_are_compared_and_judged(service, tmp_path, request_file, metrics):
    ended, report = run(service, tmp_path, request_file, "training.steps=20")
    assert ended.returncode == EXIT_CODES[report["verdict"]] != EXIT_CODES["invalid"], ended.stderr
    assert [metric["name"] for metric in report["data"]["metrics"]] == ["loss", *metrics]
    (compared,) = report["comparisons"]
    assert list(compared["metric_differences"]) == metrics
    judged = {one["metric"]: one for one in compared["requirements"] if one["name"] == "max_metric_differences"}
    assert list(judged) == metrics
    assert all(judged[name]["measured"] == compared["metric_differences"][name] for name in metrics)
    (accuracy,) = [one for one in compared["requirements"] if one["name"] == "max_accuracy_difference"]
    assert accuracy["status"] == "off"
    assert report["baseline"]["numerics"]["gradient_relative_rmse"] is not None  # the step was repeated in FP64
    assert report["attestation"]["ok"]


def test_a_requirement_on_a_metric_that_the_task_lacks_ends_the_benchmark_before_training(service, tmp_path):
    ended, report = run(service, tmp_path, "towers.json", "requirements.max_accuracy_difference=0.05")
    assert report is None
    assert ended.returncode == NO_REPORT
    said = " ".join((ended.stdout + ended.stderr).split())
    assert "does not measure accuracy" in said
    assert "loss, retrieval_accuracy" in said


def test_a_plugin_that_is_not_installed_fails_with_what_is(service):
    failed = service.until_status(
        service.post({"model": {"kind": "plugin", "name": "nobody"}, "config": {"device": "cpu"}}),
        "failed",
        "succeeded",
    )
    assert failed["failure"]["code"] == "invalid_model"
