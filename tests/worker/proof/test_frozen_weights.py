"""A model of a plugin that trains only half of its weights: trained and examined like any other."""

import pytest
from torch import nn

from halftime.contract.models import MlpSpec
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Vectors
from worker.messages import TrialSpec
from worker.models import TaskBlueprint
from worker.tasks import as_task
from worker.trial import preparation
from worker.trial.run import run_trial

WIDTH = 16


def half_frozen():
    """The first and the third of four layers are frozen: gradients pass through the third."""
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(4)))
    for layer in (model[0], model[2]):
        layer.requires_grad_(False)
    return model


@pytest.fixture(params=["fp32", "bf16", "fp16"])
def result(request, monkeypatch):
    monkeypatch.setattr(
        preparation, "blueprint_of", lambda model: TaskBlueprint(as_task(Vectors(WIDTH, WIDTH)), half_frozen)
    )
    spec = TrialSpec(
        device="cpu",
        precision=request.param,
        block=0,
        position=0,
        model=MlpSpec(input_size=WIDTH, hidden_size=WIDTH, num_layers=1, num_classes=WIDTH),  # any: it is not built
        training=TrainingConfig(batch_size=8, steps=4, warmup_steps=1, validation_samples=16),
        examined=True,
    )
    return run_trial(spec, lambda step: None)


def test_a_half_frozen_model_is_examined_in_full(result):
    layer_bytes, layer_flops = 4 * (WIDTH * WIDTH + WIDTH), 2 * 8 * WIDTH * WIDTH
    assert result.not_examined == {}
    assert result.applied_steps == 4
    parts = result.memory.breakdown
    assert parts.parameters == 4 * layer_bytes
    assert parts.optimizer == pytest.approx(2 * 2 * layer_bytes, rel=0.02)  # AdamW's two moments of two layers
    assert {layer.name.split(".")[0] for layer in result.numerics.worst_layers} == {"1", "3"}
    # forward all, two gradients of weights, and those of the inputs of the last two
    assert result.least_flops_per_step == (4 + 2 + 2) * layer_flops
