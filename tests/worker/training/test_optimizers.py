"""Optimizers, schedules and clipping do what torch's own do when they are driven by hand."""

import pytest
import torch
from torch import nn

from halftime.contract.models import MlpSpec
from halftime.contract.request.training import FUSED, TrainingConfig
from tests.factories import data_of, run_of
from worker.models import blueprint_of
from worker.tasks.cross_entropy import cross_entropy
from worker.training.loop import training_step
from worker.training.memory import account_for_step
from worker.training.schedule import share_of_peak

CPU = torch.device("cpu")
MODEL = MlpSpec(input_size=8, hidden_size=16, num_layers=1, num_classes=4)
OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, foreach=False),
    "sgd": lambda p: torch.optim.SGD(p, momentum=0.6, weight_decay=0.1, foreach=False),
    "adafactor": lambda p: torch.optim.Adafactor(p, weight_decay=0.1, foreach=False),
}
SETTINGS = {
    "adamw": {"betas": [0.8, 0.95], "epsilon": 1e-6},
    "adam": {"betas": [0.8, 0.95], "epsilon": 1e-6},
    "sgd": {"momentum": 0.6},
    "adafactor": {},
}


def config(**settings):
    return TrainingConfig(**{"batch_size": 8, "steps": 4, "warmup_steps": 1, "learning_rate": 0.05} | settings)


def prepared(precision, settings):
    torch.manual_seed(0)
    return run_of(MODEL, precision, settings), data_of(MODEL, settings).training


def overflowing(run):
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    return run


IMPLEMENTATIONS = [(name, "foreach") for name in OPTIMIZERS] + [(name, "fused") for name in sorted(FUSED)]


@pytest.mark.parametrize(("name", "implementation"), IMPLEMENTATIONS)
def test_an_optimizer_steps_as_torch_s_own_does_by_hand(name, implementation):
    settings = config(
        optimizer=name,
        optimizer_implementation=implementation,
        weight_decay=0.1,
        max_grad_norm=0.5,
        schedule="linear",
        schedule_warmup_steps=1,
        **SETTINGS[name],
    )
    run, batches = prepared("fp32", settings)
    torch.manual_seed(0)
    model = blueprint_of(MODEL).build()
    optimizer = OPTIMIZERS[name](model.parameters())
    for step, (inputs, targets) in enumerate(batches):
        training_step(run, batches[step])
        optimizer.param_groups[0]["lr"] = 0.05 * [1 / 2, 1, 2 / 3, 1 / 3][step]
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
    for ours, theirs in zip(run.parameters, model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_every_leg_has_the_same_optimizer():
    for settings in (config(), config(optimizer="adafactor"), config(optimizer_implementation="foreach")):
        defaults = [prepared(precision, settings)[0].optimizer.defaults for precision in ("fp32", "bf16", "fp16")]
        assert defaults[0] == defaults[1] == defaults[2]


@pytest.mark.parametrize("settings", [{"optimizer": "adafactor"}, {"optimizer_implementation": "foreach"}], ids=str)
def test_an_optimizer_that_is_not_fused_takes_no_rate_for_a_skipped_step(settings):
    run, batches = prepared("fp16", config(steps=30, **settings))
    skipped = 0
    while int(training_step(overflowing(run) if not skipped else run, batches[0]).found_inf):
        skipped += 1
    assert skipped > 0
    assert int(run.learning_rate.applied_steps) == 1
    assert run.optimizer.param_groups[0]["lr"] == run.learning_rate.rates[0]
    training_step(run, batches[0])
    assert run.optimizer.param_groups[0]["lr"] == run.learning_rate.rates[1]
    assert float(run.learning_rate.value) == pytest.approx(run.learning_rate.rates[2])


def test_sgd_without_momentum_keeps_no_state():
    run, batches = prepared("fp32", config(optimizer="sgd", momentum=0.0))
    training_step(run, batches[0])
    assert all(value is None for state in run.optimizer.state.values() for value in state.values())


def test_adafactor_s_state_is_in_the_account_of_memory():
    accounts = {}
    for name in ("adamw", "adafactor"):
        run, batches = prepared("fp32", config(optimizer=name))
        training_step(run, batches[0])
        state = [value for one in run.optimizer.state.values() for value in one.values() if value is not None]
        accounts[name] = account_for_step(run, batches[0]).optimizer
        assert accounts[name] == sum(tensor.nbytes for tensor in state)
    assert 0 < accounts["adafactor"] < accounts["adamw"]


SCHEDULES = {
    "constant": [1, 1, 1, 1, 1, 1],
    "linear": [1, 0.75, 0.5, 0.25, 0, 0],
    "cosine": [1, 0.8536, 0.5, 0.1464, 0, 0],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_has_its_shape(schedule):
    settings = config(schedule=schedule)
    assert [share_of_peak(settings, step) for step in range(6)] == pytest.approx(SCHEDULES[schedule], abs=1e-4)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_ends_at_its_final_ratio(schedule):
    settings = config(schedule=schedule, final_learning_rate_ratio=0.2)
    assert share_of_peak(settings, 0) == 1
    assert share_of_peak(settings, 4) == pytest.approx(0.2)
    assert share_of_peak(settings, 2) == pytest.approx(0.6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_warms_up_in_equal_parts_to_its_peak(schedule):
    settings = config(schedule=schedule, steps=10, schedule_warmup_steps=3)
    assert [share_of_peak(settings, step) for step in range(4)] == [0.25, 0.5, 0.75, 1]
    assert share_of_peak(settings, 10) == (1 if schedule == "constant" else 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gradients_are_clipped_by_value_and_their_norm_is_that_before(precision):
    settings = config(max_grad_norm=None, max_grad_value=1e-3)
    free, batches = prepared(precision, config(max_grad_norm=None))
    clipped, _ = prepared(precision, settings)
    before, after = training_step(free, batches[0]), training_step(clipped, batches[0])
    assert float(before.gradient_norm) == float(after.gradient_norm) > 0.1
    largest = max(float(parameter.grad.abs().max()) for parameter in clipped.parameters)
    assert largest == pytest.approx(1e-3)


def test_without_clipping_the_gradient_stays():
    free, batches = prepared("fp32", config(max_grad_norm=None))
    step = training_step(free, batches[0])
    norm = torch.cat([parameter.grad.flatten() for parameter in free.parameters]).norm()
    assert float(norm) == pytest.approx(float(step.gradient_norm))
