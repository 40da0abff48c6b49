"""Requests of people who do this work, each from the API to the report of real trials, to its right answer.

A case stands for a kind of request: what holds of it is to hold of the kind.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

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
from tests.cases.in_process import answered

#: Four trials in fresh processes, on a machine that may be busy with other tests.
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


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write_data_files(folder)
    return folder


@pytest.fixture
async def ask(client, datasets, monkeypatch):
    """Gives the answer to a request."""
    monkeypatch.setenv("HALFTIME_DATASETS_DIR", str(datasets))
    return partial(answered, client, monkeypatch=monkeypatch)


def written(name):
    return (REQUESTS / f"{name}.json").read_text()


def test_every_request_has_its_right_answer():
    assert {path.stem for path in REQUESTS.glob("*.json")} == set(RIGHT) | OTHERWISE


#: Cases of an architecture at its full size, which take minutes on a CPU: `make architectures` runs them.
FULL_SIZE = {"image-hiera-size"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.architectures] if name in FULL_SIZE else [], id=name) for name in RIGHT],
)
async def test_a_request_has_its_right_answer(ask, name):
    RIGHT[name](await ask(written(name)))


@pytest.mark.anyio
async def test_accumulation_leaves_the_training_loss_as_it_is(ask):
    """The mean is over predictions, of which the parts of a batch have unequally many.

    A mean over parts is off by some tenths of a percent from the first step on; rounding is far below that.
    """
    request = json.loads(written("ga-uneven-1"))
    request["config"]["training"]["steps"] = 8
    losses = []
    for parts in (1, 8):
        request["config"]["training"]["gradient_accumulation"] = parts
        answer = await ask(json.dumps(request))
        trains(answer)
        losses.append(answer.report["baseline"]["loss_curve"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_request_as_json_dumps_writes_it_runs_from_the_command_line(shared_service):
    path = REQUESTS / "cli-surrogate.json"
    few = ["training.steps=6", "training.warmup_steps=2", "measurement.min_blocks=2", "measurement.max_blocks=2"]
    command = [sys.executable, "-m", "app.cli", "run", str(path), "--server", shared_service.url, "--json"]
    command += [part for setting in few for part in ("--set", setting)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False, timeout=PATIENCE_SECONDS)
    assert ran.stdout and "Traceback" not in ran.stderr, ran.stderr
    report = json.loads(ran.stdout)
    benchmark = shared_service.get(report["benchmark_id"])
    assert benchmark["request"]["labels"] == json.loads(written("cli-surrogate"))["labels"]
    exits_with_the_verdict(ran.returncode, Answer(benchmark=benchmark, report=report))
