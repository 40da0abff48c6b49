"""`bf16-true`: weights, gradients and optimizer state in BF16, from the same initial weights; validated in FP32."""

import pytest
import torch
from torch import nn

from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec
from halftime.contract.request.training import TrainingConfig
from tests.factories import data_of, run_of
from worker.messages import TrialSpec
from worker.proof.numerics import compare_with_fp64
from worker.training.held import called_in, dtypes_held, hold, in_fp32, state_of, unmoved_share
from worker.training.loop import training_step
from worker.training.memory import account_for_step
from worker.training.precision import PRECISIONS
from worker.training.precision_facts import FACTS
from worker.trial import run as trials
from worker.trial.preparation import prepare_run
from worker.trial.run import run_trial

MLP = MlpSpec(input_size=32, hidden_size=64, num_layers=2, num_classes=4)
CONVNET = ConvnetSpec(image_size=8, widths=[8, 16], blocks_per_stage=1)
TRANSFORMER = TransformerSpec(vocab_size=32, hidden_size=32, num_layers=2, num_heads=2, sequence_length=16)
MODELS = {"mlp": MLP, "convnet": CONVNET, "transformer": TRANSFORMER}
SETTINGS = TrainingConfig(batch_size=16, steps=6, warmup_steps=2, validation_samples=64, learning_rate=1e-2)
OPTIMIZERS = ["adamw", "sgd", "adam", "adafactor"]


def spec_of(model=MLP, precision="bf16-true", **settings):
    training = SETTINGS.model_copy(update=settings)
    return TrialSpec(
        device="cpu", precision=precision, block=0, position=0, model=model, training=training, examined=True
    )


def trained(**changes):
    return run_trial(spec_of(**changes), lambda step: None)


@pytest.mark.parametrize("kind", MODELS)
def test_everything_that_is_trained_is_held_in_bf16(kind):
    result = trained(model=MODELS[kind])
    held, count = result.attestation.held_dtypes, result.parameter_count
    assert result.not_examined == {}
    assert held == {
        "weights": {"bfloat16": count},
        "gradients": {"bfloat16": count},
        "optimizer": {"bfloat16": 2 * count},
    }
    assert {dtype for dtypes in result.attestation.forward_dtypes.values() for dtype in dtypes} == {"bfloat16"}
    assert all(probe.ok for probe in result.attestation.probes)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_keeps_its_state_in_bf16(optimizer):
    run = run_of(MLP, "bf16-true", SETTINGS.model_copy(update={"optimizer": optimizer}))
    training_step(run, data_of(MLP, run.settings).training[0])
    assert all(counts.keys() == {"bfloat16"} for counts in dtypes_held(run.parameters, run.optimizer).values())


def test_legs_begin_with_the_same_weights_rounded():
    exact, rounded = (prepare_run(spec_of(precision=name), torch.device("cpu")) for name in ("fp32", "bf16-true"))
    assert exact.attestation.initial_weights_sha256 == rounded.attestation.initial_weights_sha256
    for one, other in zip(exact.model.parameters(), rounded.model.parameters(), strict=True):
        assert other.dtype is torch.bfloat16
        assert torch.equal(one.to(torch.bfloat16), other)


def test_weights_take_half_the_bytes():
    """Weights and two moments, each two bytes a parameter; torch counts the steps of each parameter in FP32."""
    parts = {name: trained(precision=name).memory.breakdown for name in ("fp32", "bf16-true")}
    count = sum((32 * 64 + 64, 64 * 64 + 64, 64 * 4 + 4))
    counts_of_steps = 6 * 4
    for name, size in (("fp32", 4), ("bf16-true", 2)):
        assert parts[name].parameters == size * count
        assert parts[name].optimizer == 2 * size * count + counts_of_steps
    assert parts["bf16-true"].activations < 0.8 * parts["fp32"].activations


def test_buffers_are_held_in_bf16_too():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    hold(model, torch.bfloat16)
    floats = {name: value.dtype for name, value in state_of(model).items() if value.is_floating_point()}
    assert set(floats.values()) == {torch.bfloat16}
    assert "1.running_mean" in floats


def test_validation_is_in_fp32_and_leaves_every_bit():
    run = run_of(CONVNET, "fp32", SETTINGS)
    hold(run.model, torch.bfloat16)
    before = {name: value.clone() for name, value in state_of(run.model).items()}
    seen = []
    with in_fp32(run.model):
        handle = run.model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        trials.validate(run.model, run.task, data_of(CONVNET, SETTINGS).validation)
        handle.remove()
    assert set(seen) == {torch.float32}
    after = state_of(run.model)
    assert all(after[name].dtype is value.dtype and torch.equal(after[name], value) for name, value in before.items())


def test_batches_and_losses_stay_in_fp32():
    """A target that is a float is not rounded, and the loss is computed from outputs in FP32."""
    given = []

    def model(inputs, places, *, scale):
        given.extend([inputs.dtype, places.dtype, scale.dtype])
        return {"logits": inputs * 2}

    ids = torch.arange(3)
    output = called_in(torch.bfloat16, model)(torch.ones(3), ids, scale=torch.ones(1, dtype=torch.float32))
    assert given == [torch.bfloat16, torch.int64, torch.bfloat16]
    assert output["logits"].dtype is torch.float32


@pytest.mark.parametrize("kind", MODELS)
def test_rounding_explains_the_error_of_a_step(kind):
    found = trained(model=MODELS[kind]).numerics
    ratio = found.gradient_relative_rmse / found.explained_relative_rmse
    assert found.gradient_relative_rmse > 2.0**-10
    assert 0.1 < ratio < FACTS["bf16-true"].max_error_ratio / 2


def test_weights_rounded_at_the_start_are_part_of_the_error():
    """Against FP64 of the unrounded weights: with the rounded ones, the error is smaller."""
    run = run_of(MLP, "fp32", SETTINGS)
    initial = {name: value.detach().clone() for name, value in state_of(run.model).items()}
    hold(run.model, torch.bfloat16)
    run = trials.prepare(run.model, run.task, PRECISIONS["bf16-true"], SETTINGS, torch.device("cpu"))
    batch = data_of(MLP, SETTINGS).training[0]
    of_unrounded = compare_with_fp64(run, PRECISIONS["bf16-true"], batch, initial)
    of_rounded = compare_with_fp64(run, PRECISIONS["bf16-true"], batch)
    assert of_rounded.gradient_relative_rmse < of_unrounded.gradient_relative_rmse


def test_updates_below_the_resolution_are_lost():
    settings = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 1e-5, "weight_decay": 0.0}
    shares = {name: trained(precision=name, **settings).unmoved_weight_share for name in ("fp32", "bf16-true")}
    assert shares["bf16-true"] > 0.9
    assert shares["fp32"] < 0.5 < shares["bf16-true"]


def test_unmoved_weights_are_compared_as_the_leg_holds_them():
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    initial = {"weight": weight.detach().clone() + 1e-4}
    assert unmoved_share({"weight": weight}, initial) == 0
    weight.data = weight.data.to(torch.bfloat16)
    assert unmoved_share({"weight": weight}, initial) == 1


def test_accumulation_checkpointing_and_clipping_work():
    result = trained(model=TRANSFORMER, gradient_accumulation=4, activation_checkpointing=True, max_grad_norm=0.5)
    assert result.applied_steps == 6
    assert result.not_examined == {}


def test_the_account_is_of_a_model_in_bf16():
    run = run_of(MLP, "bf16-true", SETTINGS)
    batch = data_of(MLP, SETTINGS).training[0]
    training_step(run, batch)
    assert account_for_step(run, batch).parameters == 2 * sum(one.numel() for one in run.parameters)
