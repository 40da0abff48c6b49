"""Requests of people who do this work, each through the API, a worker and fresh trial processes, to its right answer.

A case stands for a kind of request: what holds of it is to hold of the kind.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from halftime.contract.resources.benchmark import TERMINAL
from testing.waiting import wait_until
from tests.cases.answers import (
    Answer,
    exits_with_the_verdict,
    is_examined_or_says_why_not,
    is_inconclusive_in_accuracy,
    names_the_dtype_of_the_file,
    names_the_module_that_fails,
    refuses_the_length,
    says_that_no_step_was_applied,
    tells_the_precision_of_experts,
    trains,
    trains_or_is_refused_at_a_field,
    trains_or_names_another_precision,
)
from tests.cases.data_files import write_data_files
from tests.conftest import new_database
from tests.service import running_service

#: Four trials that import an architecture of the library each, on a machine that may be busy with other tests.
PATIENCE_SECONDS = 300

REQUESTS = Path(__file__).parent / "requests"

RIGHT = {
    "amp-deberta": names_the_module_that_fails,
    "ceiling-docs-api-mlp": trains,
    "dtype-float-labels": names_the_dtype_of_the_file,
    "fp64-xglm": is_examined_or_says_why_not,
    "hub-config-bert": trains,
    "image-hiera-size": trains_or_is_refused_at_a_field,
    "image-imagegpt": trains_or_is_refused_at_a_field,
    "image-pp_lcnet": trains_or_is_refused_at_a_field,
    "image-swin-112": trains_or_is_refused_at_a_field,
    "internal-levit": is_examined_or_says_why_not,
    "internal-marian": is_examined_or_says_why_not,
    "internal-perceiver": refuses_the_length,
    "internal-recurrent_gemma": is_examined_or_says_why_not,
    "length-whisper": trains_or_is_refused_at_a_field,
    "lstm-bf16": trains_or_names_another_precision,
    "moe-deepseek_v3": tells_the_precision_of_experts,
    "moe-mixtral": tells_the_precision_of_experts,
    "moe-qwen3_moe": tells_the_precision_of_experts,
    "pad-bart-mlm": trains_or_is_refused_at_a_field,
    "pad-esm": trains_or_is_refused_at_a_field,
    "pad-t5gemma": trains_or_is_refused_at_a_field,
    "proof-reformer": is_examined_or_says_why_not,
    "scaler-wrong-remedy": says_that_no_step_was_applied,
    "setting-bert-position_embedding_type": trains,
    "setting-deberta-v3": trains,
    "setting-llama-rope_theta": trains,
    "text-canine": trains_or_is_refused_at_a_field,
    "vacuous-accuracy-pass": is_inconclusive_in_accuracy,
}

#: Cases with a test of their own below.
OTHERWISE = {"cli-surrogate", "ga-uneven-1"}

#: Cases whose answer is not yet the right one: their tests are expected to fail, and say so when they no longer do.
PENDING = {
    "amp-deberta",
    "fp64-xglm",
    "ga-uneven-1",
    "hub-config-bert",
    "image-hiera-size",
    "image-imagegpt",
    "image-pp_lcnet",
    "image-swin-112",
    "internal-perceiver",
    "length-whisper",
    "moe-deepseek_v3",
    "moe-mixtral",
    "moe-qwen3_moe",
    "pad-bart-mlm",
    "pad-esm",
    "pad-t5gemma",
    "proof-reformer",
    "scaler-wrong-remedy",
    "setting-bert-position_embedding_type",
    "setting-deberta-v3",
    "setting-llama-rope_theta",
    "text-canine",
    "vacuous-accuracy-pass",
}


@pytest.fixture(scope="module")
def service(postgres, migrated_template, tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_data_files(folder)
    with (
        new_database(postgres, migrated_template) as url,
        running_service(url, tmp_path_factory.mktemp("service"), HALFTIME_DATASETS_DIR=str(folder)) as running,
    ):
        yield running


def written(name):
    return (REQUESTS / f"{name}.json").read_text()


def answered(service, text):
    """The answer to a request."""
    response = service.http.post("/benchmarks", content=text, headers={"Content-Type": "application/json"})
    if response.status_code == 422:
        return Answer(problem=response.json())
    assert response.status_code == 202, response.text
    return ended(service, response.json()["id"])


def ended(service, benchmark_id):
    def has_ended():
        benchmark = service.get(benchmark_id)
        return benchmark if benchmark["status"] in TERMINAL else None

    benchmark = wait_until(has_ended, timeout_seconds=PATIENCE_SECONDS, log=service.log)
    if benchmark["status"] == "failed":
        return Answer(benchmark=benchmark)
    report = service.http.get(f"/benchmarks/{benchmark_id}/report", params={"format": "json"}).json()
    return Answer(benchmark=benchmark, report=report)


def marked(name):
    marks = [pytest.mark.xfail(strict=True, reason="not yet right")] if name in PENDING else []
    return pytest.param(name, marks=marks, id=name)


def test_every_request_has_its_right_answer():
    assert {path.stem for path in REQUESTS.glob("*.json")} == set(RIGHT) | OTHERWISE


@pytest.mark.parametrize("name", [marked(name) for name in RIGHT])
def test_a_request_has_its_right_answer(service, name):
    RIGHT[name](answered(service, written(name)))


@pytest.mark.parametrize("name", [marked("ga-uneven-1")])
def test_accumulation_leaves_the_training_loss_as_it_is(service, name):
    """The mean is over predictions, of which the parts of a batch have unequally many.

    A mean over parts is off by some tenths of a percent from the first step on; rounding is far below that.
    """
    request = json.loads(written(name))
    request["config"]["training"]["steps"] = 20
    losses = []
    for parts in (1, 8):
        request["config"]["training"]["gradient_accumulation"] = parts
        answer = answered(service, json.dumps(request))
        trains(answer)
        losses.append(answer.report["baseline"]["loss_curve"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("name", [marked("cli-surrogate")])
def test_a_request_as_json_dumps_writes_it_runs_from_the_command_line(service, name):
    path = REQUESTS / f"{name}.json"
    few = ["training.steps=6", "training.warmup_steps=2", "measurement.min_blocks=2", "measurement.max_blocks=2"]
    command = [sys.executable, "-m", "app.cli", "run", str(path), "--server", service.url, "--json"]
    command += [part for setting in few for part in ("--set", setting)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False, timeout=PATIENCE_SECONDS)
    assert "Traceback" not in ran.stderr, ran.stderr
    report = json.loads(ran.stdout)
    benchmark = service.get(report["benchmark_id"])
    assert benchmark["request"]["labels"] == json.loads(written(name))["labels"]
    exits_with_the_verdict(ran.returncode, Answer(benchmark=benchmark, report=report))
