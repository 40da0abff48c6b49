"""CUDA without a GPU: the training loop on tensors without values, and a fork before CUDA is used."""

import json
import os
import subprocess
import sys

import pytest
import torch

from halftime.contract.models import MODEL_KINDS
from tests.worker.training import driverless_cuda
from tests.worker.training.cuda_dry_run import MODELS, OPTIMIZERS, SETTINGS, THOROUGH
from worker.training.precision import PRECISIONS

#: In a process of its own, which is left with a CUDA that does nothing.
DRY_RUN = [sys.executable, "-m", "tests.worker.training.cuda_dry_run", "--quick"]

FORK = """
import importlib, os, torch
from worker.agent.launcher import PRELOADED
for module in PRELOADED: importlib.import_module(module)
child = os.fork()
if not child: os._exit(bool(torch.cuda._is_in_bad_fork()))
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def rows():
    if not driverless_cuda.can_be_built():
        pytest.skip("no g++, which builds what answers in CUDA's place")
    ran = subprocess.run(
        DRY_RUN, capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def waits(row):
    """Known to: Adafactor asks for norms, and the gradient scaler whether to skip a step that is not fused."""
    return row["optimizer"] == "adafactor" or (row["precision"] == "fp16" and row["implementation"] == "foreach")


def test_every_kind_of_model_trains_on_cuda_in_every_precision_with_every_optimizer(rows):
    assert [row for row in rows if row["outcome"] == "failed"] == []
    tried = {(row["model"], row["precision"]) for row in rows}
    assert tried == {(model, precision) for model in MODEL_KINDS for precision in PRECISIONS}
    optimizers = {(row["precision"], row["optimizer"], row["implementation"]) for row in rows}
    assert optimizers == {(precision, *optimizer) for precision in PRECISIONS for optimizer in OPTIMIZERS}
    thorough = {(row["model"], row["optimizer"], row["implementation"]) for row in rows if row["model"] in THOROUGH}
    assert thorough == {(model, *optimizer) for model in THOROUGH for optimizer in OPTIMIZERS}
    assert {row["setting"] for row in rows} == {"", *SETTINGS}
    assert MODELS.keys() == MODEL_KINDS.keys()


def test_no_step_waits_but_those_that_are_known_to(rows):
    assert [row for row in rows if (row["outcome"] == "waits") is not waits(row)] == []
    assert {row["detail"] for row in rows if waits(row)} == {"aten::_local_scalar_dense × 1"}


@pytest.mark.skipif(torch.version.cuda is None, reason="torch's build for the CPU has no CUDA to poison")
def test_a_fork_of_what_runs_trials_may_use_cuda():
    """Without a driver too: who asks how many devices there are has poisoned it, though CUDA is not initialised."""
    assert subprocess.run([sys.executable, "-c", FORK], env=os.environ, check=False).returncode == 0
    poisoned = FORK.replace("child = ", "torch._C._cuda_getDeviceCount(); child = ")
    assert subprocess.run([sys.executable, "-c", poisoned], env=os.environ, check=False).returncode == 1
