"""The example plugin, installed from its folder and submitted over HTTP to real processes."""

import json
import os
import subprocess
import sys

from app.cli.exit_codes import EXIT_CODES
from tests.conftest import EXAMPLE_PLUGIN


def test_the_example_runs_end_to_end(example, tmp_path):
    command = [sys.executable, "-m", "app.cli", "run", EXAMPLE_PLUGIN / "request.json"]
    small = ["--set", "training.steps=20", "--output", tmp_path / "report.json"]
    environment = os.environ | {"PYTHONPATH": str(example)}
    ended = subprocess.run(
        [*command, *small], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert ended.returncode == EXIT_CODES[report["verdict"]] != EXIT_CODES["invalid"], ended.stderr
    assert report["model"]["name"] == "gated-mlp"
    assert report["data"]["best_possible_accuracy"] == 1.0
    assert report["attestation"]["ok"]


def test_a_plugin_that_is_not_installed_fails_with_what_is(shared_service):
    failed = shared_service.until_status(
        shared_service.post({"model": {"kind": "plugin", "name": "nobody"}, "config": {"device": "cpu"}}),
        "failed",
        "succeeded",
    )
    assert failed["failure"]["code"] == "invalid_model"
