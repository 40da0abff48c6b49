"""An error of the model's own is named with its stage, step and module; any other stays an error of Halftime."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from halftime.contract.models import MlpSpec
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Vectors
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import TaskBlueprint
from worker.tasks import as_task
from worker.trial import preparation
from worker.trial import run as trials

SPEC = TrialSpec(
    device="cpu",
    precision="bf16",
    block=0,
    position=0,
    model=MlpSpec(input_size=8, hidden_size=16, num_layers=1, num_classes=4),
    training=TrainingConfig(batch_size=8, steps=5, warmup_steps=2, validation_samples=8),
)


class Layer(nn.Module):
    """Calls a function on its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, hidden):
        """Its result."""
        return self.function(self, hidden)


class FailingBackward(torch.autograd.Function):
    """The identity, without a backward pass."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradients):
        raise RuntimeError("no gradient of this")


def masked(module, hidden):
    """Masks with a number that only FP32 holds, as many published models do."""
    return hidden.masked_fill(hidden > 0, torch.finfo(torch.float32).min)


def later(module, hidden):
    """Fails in the third training step."""
    module.calls = getattr(module, "calls", 0) + 1
    if module.calls == 3:
        raise ValueError("enough")
    return hidden


def held_out(module, hidden):
    """Fails outside of training."""
    if not module.training:
        raise ValueError("never seen")
    return hidden


def with_layer(monkeypatch, function):
    def build():
        return nn.Sequential(nn.Linear(8, 8), nn.Sequential(Layer(function)), nn.Linear(8, 4))

    monkeypatch.setattr(preparation, "blueprint_of", lambda spec: TaskBlueprint(as_task(Vectors(8, 4)), build))


def failure(spec=SPEC):
    with pytest.raises(TrialFailed) as caught:
        trials.run_trial(spec, lambda step: None)
    return caught.value.failure


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (masked, "bf16: the forward pass of step 1 failed in 1.0 (Layer). RuntimeError: value cannot be converted"),
        (later, "bf16: the forward pass of step 3 failed in 1.0 (Layer). ValueError: enough"),
        (held_out, "bf16: the validation failed in 1.0 (Layer). ValueError: never seen"),
        (
            lambda module, hidden: FailingBackward.apply(hidden),
            "bf16: the backward pass of step 1 failed. RuntimeError: no gradient of this",
        ),
    ],
    ids=["forward", "later", "validation", "backward"],
)
def test_a_stage_that_fails_is_named_with_its_module(monkeypatch, function, said):
    with_layer(monkeypatch, function)
    found = failure()
    assert (found.code, found.retryable) == ("training_failed", False)
    assert found.detail.startswith(said)


def test_an_optimizer_that_fails_is_named(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such step")

    monkeypatch.setattr(torch.optim.AdamW, "step", fail)
    assert failure().detail == "bf16: the optimizer of step 1 failed. RuntimeError: no such step"


def test_a_missing_kernel_is_no_reason_to_use_that_precision(monkeypatch):
    def missing(module, hidden):
        raise RuntimeError("\"cummax\" not implemented for 'BFloat16'")

    with_layer(monkeypatch, missing)
    assert "no kernel for this operation in bf16 on this device. Compare another precision" in failure().detail


def test_an_error_outside_of_the_model_s_work_stays_one_of_halftime(monkeypatch):
    def fail(*_):
        raise ValueError("ours")

    monkeypatch.setattr("worker.training.loop.Curves.record", fail)
    with pytest.raises(ValueError, match="ours"):
        trials.run_trial(SPEC, lambda step: None)


def test_an_error_of_the_device_stays_one_that_may_be_tried_again(monkeypatch):
    def broken(module, hidden):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    with_layer(monkeypatch, broken)
    with pytest.raises(torch.AcceleratorError):
        trials.run_trial(SPEC, lambda step: None)


def test_running_out_of_memory_stays_that(monkeypatch):
    def large(module, hidden):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with_layer(monkeypatch, large)
    assert failure().code == "out_of_memory"


#: Makes torch and oneDNN use a CPU as one without arithmetic for BF16.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

#: One trial of an LSTM in BF16; prints its failure, or `trained`.
LSTM = """
from halftime.contract.models import LayersSpec
from halftime.contract.request.training import TrainingConfig
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.trial.run import run_trial

layers = [
    {"type": "embedding", "embedding_dim": 8},
    {"type": "lstm", "hidden_size": 8},
    {"type": "linear", "out_features": 16},
]
model = LayersSpec.model_validate(
    {"kind": "layers", "task": "causal-lm", "input_shape": [6], "vocab_size": 16, "layers": layers}
)
training = TrainingConfig(batch_size=4, steps=3, warmup_steps=1, validation_samples=4)
try:
    run_trial(TrialSpec(device="cpu", precision="bf16", block=0, position=0, model=model, training=training), print)
    print("trained")
except TrialFailed as error:
    print(error.failure.model_dump_json())
"""


@pytest.mark.parametrize("limit", [{}, AVX2], ids=["as is", "avx2"])
def test_an_lstm_trains_in_bf16_or_says_that_this_cpu_has_no_kernel(limit):
    printed = subprocess.run(
        [sys.executable, "-c", LSTM], env=os.environ | limit, capture_output=True, text=True, check=True
    ).stdout
    assert printed.endswith("trained\n") or ("training_failed" in printed and "no kernel" in printed)
    if limit:
        assert "the forward pass of step 1 failed in 1.network (LSTM)" in printed
