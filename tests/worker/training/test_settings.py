"""Every training setting takes effect, in every leg alike, and the report says which were used."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from app.reports.text.wording import context_lines
from halftime.contract.models import ConvnetSpec, MlpSpec, TransformerSpec
from halftime.contract.request.training import FUSED, TrainingConfig
from halftime.plugin import Vectors
from tests.factories import comparison, data_of, request, trial
from worker.comparison.blocks import compare
from worker.comparison.capacity import measure_capacity
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import TaskBlueprint, blueprint_of
from worker.proof.numerics import compare_with_fp64, without_randomness
from worker.proof.waits import SynchronisationWatch
from worker.report.build import make_report
from worker.tasks import smoothed
from worker.tasks.cross_entropy import CrossEntropy
from worker.training.checkpointing import checkpoint_activations
from worker.training.determinism import is_deterministic
from worker.training.loop import prepare, training_step, validate
from worker.training.memory import account_for_step
from worker.training.precision import PRECISIONS
from worker.trial.preparation import prepare_run
from worker.trial.run import run_trial

CPU = torch.device("cpu")
MLP = MlpSpec(input_size=8, hidden_size=16, num_layers=1, num_classes=4)
BLOCKS = {
    "mlp": MlpSpec(input_size=32, hidden_size=64, num_layers=8),
    "convnet": ConvnetSpec(image_size=16, widths=[8, 16], blocks_per_stage=2),
    "transformer": TransformerSpec(vocab_size=32, hidden_size=32, num_layers=3, sequence_length=32),
}
DROPPING = [
    MlpSpec(input_size=32, hidden_size=64, num_layers=2, dropout=0.5),
    TransformerSpec(vocab_size=32, hidden_size=32, num_layers=1, sequence_length=16, dropout=0.5),
]


def config(**changes):
    return TrainingConfig(**{"batch_size": 8, "steps": 5, "warmup_steps": 2} | changes)


def prepared(spec, precision="fp32", **changes):
    torch.manual_seed(0)
    chosen = config(**changes)
    model = blueprint_of(spec).build()
    task = smoothed(blueprint_of(spec).task, chosen.label_smoothing)
    if chosen.activation_checkpointing:
        checkpoint_activations(model)
    return prepare(model, task, PRECISIONS[precision], chosen, CPU), data_of(spec, chosen)


def trial_spec(model=MLP, precision="fp32", **changes):
    return TrialSpec(device="cpu", precision=precision, block=0, position=0, model=model, training=config(**changes))


def result(model=MLP, precision="fp32", **changes):
    return run_trial(trial_spec(model, precision, **changes), lambda step: None)


def building(monkeypatch, module):
    """Trials train this module, on the data of an MLP."""
    blueprint = TaskBlueprint(blueprint_of(MLP).task, module)
    monkeypatch.setattr("worker.trial.preparation.blueprint_of", lambda spec: blueprint)


def test_label_smoothing_changes_the_training_loss_and_not_validation():
    plain, data = prepared(MLP)
    smooth, _ = prepared(MLP, label_smoothing=0.3)
    assert validate(plain.model, plain.task, data.validation) == validate(smooth.model, smooth.task, data.validation)
    losses = [float(training_step(run, data.training[0]).loss) for run in (plain, smooth)]
    inputs, targets = data.training[0]
    torch.manual_seed(0)
    expected = nn.CrossEntropyLoss(label_smoothing=0.3)(blueprint_of(MLP).build()(inputs), targets)
    assert losses[0] != pytest.approx(losses[1])
    assert losses[1] == pytest.approx(float(expected.detach()))


def test_the_exact_step_smooths_labels_too():
    run, data = prepared(MLP, label_smoothing=0.3)
    assert compare_with_fp64(run, PRECISIONS["fp32"], data.training[0]).loss_relative_error < 1e-6


def test_the_scaler_is_as_it_was_asked_for():
    asked = {"init_scale": 1024.0, "growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 2}
    trace = result(precision="fp16", grad_scaler=asked).grad_scaler
    assert trace.initial_scale == 1024
    assert trace.scale_trace == [1024, 4096, 4096, 16384, 16384]
    run, data = prepared(MLP, "fp16", grad_scaler=asked | {"init_scale": 2.0**40})
    assert float(training_step(run, data.training[0]).scale) == 2.0**38


class CountCasts(TorchDispatchMode):
    """Of the weight of a layer of eight."""

    casts = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # torch's name
        self.casts += "_to_copy" in str(func) and tuple(args[0].shape) == (8, 8)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize(("cached", "casts"), [(True, 1), (False, 2)])
def test_the_autocast_cache_keeps_weights_or_does_not(cached, casts):
    layer = nn.Linear(8, 8)
    model, task = nn.Sequential(layer, layer), CrossEntropy(Vectors(8, 8))
    run = prepare(model, task, PRECISIONS["bf16"], config(autocast_cache=cached), CPU)
    with run.autocast, CountCasts() as counted:
        run.model(torch.randn(4, 8))
    assert counted.casts == casts


def test_deterministic_is_read_back_and_ends_with_the_trial():
    assert result(deterministic=True).deterministic
    assert not is_deterministic()
    assert not result().deterministic


class Scatters(nn.Module):
    """Writes to places that may repeat: torch has no deterministic way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, vectors):
        torch.zeros(4).put_(torch.tensor([0, 0]), torch.ones(2))
        return self.layer(vectors)


def test_an_operation_without_a_deterministic_version_is_named(monkeypatch):
    building(monkeypatch, Scatters)
    assert result().applied_steps == 5
    with pytest.raises(TrialFailed) as failed:
        result(deterministic=True)
    assert failed.value.failure.code == "invalid_model"
    assert "put_" in failed.value.failure.detail
    assert not is_deterministic()


@pytest.mark.anyio
async def test_a_leg_that_was_not_deterministic_makes_the_report_invalid():
    async def run_one(spec, deadline_seconds, after_step):
        return trial(spec, deterministic=spec.precision == "fp32")

    asked = request(training=config(deterministic=True).model_dump())
    report = make_report("id", await compare(comparison(asked), run_one, lambda progress: None))
    assert report.verdict == "invalid"
    assert [check.leg for check in report.attestation.checks if not check.ok] == ["bf16"]


@pytest.mark.parametrize("kind", BLOCKS)
def test_checkpointing_lowers_activations_and_changes_nothing_else(kind):
    runs = [prepared(BLOCKS[kind], "bf16", activation_checkpointing=on, batch_size=64)[0] for on in (False, True)]
    batches = prepared(BLOCKS[kind], batch_size=64)[1].training
    losses = [[float(training_step(run, batch).loss) for batch in batches] for run in runs]
    assert losses[0] == losses[1]
    statistics = [
        {name: value for name, value in run.model.state_dict().items() if "num_b" not in name} for run in runs
    ]
    assert statistics[0].keys() == statistics[1].keys()
    assert all(torch.equal(value, statistics[1][name]) for name, value in statistics[0].items())
    kept, recomputed = (account_for_step(run, batches[0]) for run in runs)
    assert recomputed.activations + recomputed.temporary < 0.9 * (kept.activations + kept.temporary)


def test_a_copy_of_a_checkpointed_model_is_a_model_of_its_own():
    run, data = prepared(BLOCKS["transformer"], activation_checkpointing=True)
    twin = copy.deepcopy(run.model).double()
    inputs, _ = data.training[0]
    assert twin(inputs).dtype is torch.float64
    assert run.model(inputs).dtype is torch.float32


def test_a_model_without_blocks_is_not_checkpointed(monkeypatch):
    building(monkeypatch, lambda: nn.Linear(8, 4))
    with pytest.raises(TrialFailed) as failed:
        result(activation_checkpointing=True)
    assert failed.value.failure.code == "invalid_model"
    assert "activation_checkpointing" in failed.value.failure.detail


@pytest.mark.parametrize("asked_by", ["model", "training"])
def test_channels_last_is_the_layout_of_images_and_weights(asked_by):
    spec = ConvnetSpec(image_size=8, widths=[8], blocks_per_stage=1, channels_last=asked_by == "model")
    made = prepare_run(trial_spec(spec, channels_last=asked_by == "training"), CPU)
    tensors = [made.model.blocks[0].conv1.weight, made.data.training[0][0], made.data.validation[0][0]]
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors)
    assert not any(tensor.is_contiguous() for tensor in tensors)


@pytest.mark.parametrize("spec", DROPPING, ids=lambda spec: spec.kind)
def test_dropout_is_seeded_and_off_in_validation_and_against_fp64(spec):
    first, again = (result(spec) for _ in range(2))
    assert first.loss_curve == again.loss_curve != result(spec.model_copy(update={"dropout": 0.0})).loss_curve
    run, data = prepared(spec)
    found = compare_with_fp64(run, PRECISIONS["fp32"], data.training[0])
    assert found.gradient_relative_rmse < 1e-5
    assert found.loss_relative_error < 1e-5
    assert validate(run.model, run.task, data.validation) == validate(run.model, run.task, data.validation)


@pytest.mark.parametrize("spec", DROPPING, ids=lambda spec: spec.kind)
def test_what_drops_is_held_and_drops_again_afterwards(spec):
    run, data = prepared(spec)
    inputs, _ = data.training[0]
    with without_randomness(run.model):
        assert torch.equal(run.model(inputs), run.model(inputs))
    assert not torch.equal(run.model(inputs), run.model(inputs))


@pytest.mark.anyio
async def test_legs_share_every_setting_and_the_report_echoes_them():
    asked = request(
        training=config(
            optimizer="adafactor", schedule="linear", schedule_warmup_steps=1, label_smoothing=0.1, channels_last=True
        ).model_dump()
    )
    seen = []

    async def run_one(spec, deadline_seconds, after_step):
        seen.append(spec.training)
        return trial(spec)

    report = make_report("id", await compare(comparison(asked), run_one, lambda progress: None))
    assert len(seen) == 4
    assert all(training == asked.config.training for training in seen)
    assert report.model == asked.model
    assert report.training == asked.config.training.model_copy(update={"optimizer_implementation": "foreach"})
    model, training = context_lines(report)[:2]
    assert "mlp (input_size: 8, hidden_size: 16" in model
    for said in ("5 steps", "8 samples", "adafactor (foreach)", "0.0003 (linear)", "norm 1", "label_smoothing: 0.1"):
        assert said in training
    assert "deterministic" not in training


@pytest.mark.anyio
@pytest.mark.parametrize(("settings_", "warned"), [({"optimizer": "adafactor"}, True), ({}, False)])
async def test_an_optimizer_that_makes_the_scaler_wait_is_a_warning(settings_, warned):
    async def run_one(spec, deadline_seconds, after_step):
        return trial(spec)

    asked = request(candidates=["fp16"], training=config(**settings_).model_dump())
    report = make_report("id", await compare(comparison(asked), run_one, lambda progress: None))
    assert any("scaler waits for the device" in warning for warning in report.warnings) is warned


def test_an_optimizer_s_counter_on_the_host_is_no_wait_for_the_device(monkeypatch):
    for name in ("set_sync_debug_mode", "get_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)  # there need be no CUDA here
    with SynchronisationWatch(torch.device("cuda")) as elsewhere, SynchronisationWatch(CPU) as here:
        torch.ones(1).item()
    assert elsewhere.seen.total() == 0
    assert here.seen.total() == 1


@pytest.mark.anyio
async def test_a_short_try_of_capacity_needs_no_long_warm_up():
    async def run_one(spec, deadline_seconds, after_step):
        again = TrialSpec.model_validate_json(spec.model_dump_json())
        return trial(again, peak_bytes=again.training.batch_size * 2**20)

    asked = request(
        training=config(steps=40, schedule_warmup_steps=30).model_dump(),
        measurement={"min_blocks": 2, "max_blocks": 2, "capacity": True, "capacity_memory_mib": 16},
    )
    measured = await compare(comparison(asked), run_one, lambda progress: None)
    await measure_capacity(measured, run_one, lambda progress: None)
    assert measured.baseline.capacity.largest_batch_size == 16


@st.composite
def training_configs(draw):
    """Any settings that are accepted, compilation apart."""
    optimizer = draw(st.sampled_from(["adamw", "adam", "sgd", "adafactor"]))
    share = st.floats(0, 0.9)
    made = {
        "optimizer": optimizer,
        "optimizer_implementation": draw(
            st.sampled_from(["auto", "foreach", *(["fused"] if optimizer in FUSED else [])])
        ),
        "schedule": draw(st.sampled_from(["cosine", "linear"])),
        "final_learning_rate_ratio": draw(share),
        "schedule_warmup_steps": draw(st.integers(0, 4)),
        "learning_rate": draw(st.floats(1e-6, 0.1)),
        "weight_decay": draw(st.floats(0, 1)),
        "gradient_accumulation": draw(st.sampled_from([1, 2, 4])),
        "label_smoothing": draw(share),
        "grad_scaler": {"init_scale": draw(st.floats(1, 2.0**20)), "growth_interval": draw(st.integers(1, 3))},
    }
    made |= {name: draw(st.booleans()) for name in ("activation_checkpointing", "autocast_cache")}
    made |= draw(
        st.sampled_from(
            [{}, {"max_grad_norm": None}, {"max_grad_norm": None, "max_grad_value": 0.01}, {"max_grad_norm": 0.1}]
        )
    )
    if optimizer == "sgd":
        made["momentum"] = draw(share)
    if optimizer in {"adam", "adamw"}:
        made |= {"betas": [draw(share), draw(share)], "epsilon": draw(st.floats(1e-8, 1e-3))}
    return made


@given(made=training_configs(), precision=st.sampled_from(["fp32", "bf16", "fp16"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_settings_train_two_steps_in_any_precision(made, precision):
    run, data = prepared(MlpSpec(input_size=4, hidden_size=4, num_layers=2, num_classes=3), precision, **made)
    steps = [training_step(run, batch) for batch in data.training[:2]]
    assert all(float(step.found_inf) or bool(step.loss.isfinite()) for step in steps)
    assert int(run.learning_rate.applied_steps) == sum(1 - int(step.found_inf) for step in steps)
