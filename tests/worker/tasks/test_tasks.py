"""Tasks whose models are our own: they learn, in every precision, and their metrics are what they are called."""

import math

import pytest
import torch
from torch.nn import functional

from halftime.contract.report.failure import FailureCode
from halftime.contract.request.training import TrainingConfig
from testing.toys import LEARNING, SPECS
from tests.factories import data_of
from worker.data import seeded
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.proof.numerics import compare_with_fp64
from worker.tasks import smoothed
from worker.training.loop import add_gradients, prepare, training_step, validate
from worker.training.precision import PRECISIONS
from worker.trial.run import run_trial

CPU = torch.device("cpu")


def settings(**changes):
    return TrainingConfig(**{"batch_size": 8, "steps": 2, "warmup_steps": 1, "validation_samples": 24} | changes)


def prepared(kind, precision="fp32", **changes):
    """A leg and its data. Every weight is random: many of a Diffusion Transformer start at zero, without a gradient."""
    torch.manual_seed(0)
    blueprint = blueprint_of(SPECS[kind])
    model = blueprint.build()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.2)
    chosen = settings(**changes)
    return prepare(model, blueprint.task, PRECISIONS[precision], chosen, CPU), data_of(SPECS[kind], chosen)


@pytest.mark.parametrize("kind", SPECS)
def test_every_metric_moves_from_chance_towards_the_best_and_no_further(kind):
    training = TrainingConfig(warmup_steps=1, **LEARNING[kind])
    spec = TrialSpec(device="cpu", precision="fp32", block=0, position=0, model=SPECS[kind], training=training)
    result = run_trial(spec, lambda step: None)
    for facts in result.data.metrics:
        value = result.metric(facts.name)
        assert facts.best_possible is not None
        sign = 1 if facts.better == "lower" else -1
        assert sign * (value - facts.best_possible) > -0.02, facts.name
        if facts.chance is not None:
            assert abs(value - facts.best_possible) < 0.8 * abs(facts.chance - facts.best_possible), facts.name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", SPECS)
def test_a_step_runs_and_is_repeated_in_fp64(kind, precision):
    run, data = prepared(kind, precision)
    numerics = compare_with_fp64(run, PRECISIONS[precision], data.training[0])
    ratio = numerics.gradient_relative_rmse / numerics.explained_relative_rmse
    assert 0.1 < ratio < PRECISIONS[precision].max_error_ratio
    step = training_step(run, data.training[0])
    assert step.loss.dtype == torch.float32
    assert step.loss.isfinite()


@pytest.mark.parametrize("kind", SPECS)
def test_micro_batches_have_the_loss_and_the_gradient_of_the_whole_batch(kind):
    (whole, whole_loss), (parts, parts_loss) = (gradients_of(kind, accumulation) for accumulation in (1, 4))
    assert torch.allclose(whole_loss, parts_loss, rtol=1e-5)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def gradients_of(kind, accumulation):
    run, data = prepared(kind, gradient_accumulation=accumulation)
    loss = add_gradients(run, data.training[0])
    return [weight.grad for weight in run.parameters], loss


@pytest.mark.parametrize("kind", SPECS)
def test_the_loss_on_held_out_data_is_the_mean_of_the_training_loss_however_it_is_split(kind):
    run, data = prepared(kind)
    whole = data_of(SPECS[kind], settings(batch_size=24)).validation
    assert len(whole) < len(data.validation)
    run.model.eval()
    measured = validate(run.model, run.task, data.validation)
    again = validate(run.model, run.task, whole)
    assert measured.values == pytest.approx(again.values, rel=1e-4)
    assert measured.counts == again.counts
    assert measured.values["loss"] == pytest.approx(float(run.task.loss(run.model.eval(), whole[0]).detach()), rel=1e-4)


@pytest.mark.parametrize("kind", SPECS)
def test_the_same_seed_gives_the_same_data_and_another_gives_other_data(kind):
    first, again, other = (data_of(SPECS[kind], settings(), seed).sha256() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("kind", SPECS)
def test_every_metric_is_reported_once(kind):
    run, data = prepared(kind)
    reported = [metric.name for metric in run.task.reported]
    assert list(run.task.metrics(run.model, data.validation[0])) == reported
    assert reported[0] == "loss"


def test_chance_is_of_the_data_where_the_task_does_not_know_it():
    facts = {
        kind: {metric.name: metric.chance for metric in prepared(kind)[1].facts.metrics} for kind in ("mlp", "dlrm")
    }
    assert facts["mlp"] == {"loss": pytest.approx(1.1), "mean_absolute_error": None}
    assert 0 < facts["dlrm"]["loss"] < math.log(2)
    assert 0.5 < facts["dlrm"]["accuracy"] < 1


def test_the_metrics_of_a_regression_are_over_all_numbers():
    task = blueprint_of(SPECS["mlp"]).task
    targets = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])
    found = task.metrics(lambda inputs: torch.zeros(2, 3), (torch.zeros(2, 16), targets))
    values = {name: float(total) / count for name, (total, count) in found.items()}
    assert values == pytest.approx({"loss": 15 / 6, "mean_absolute_error": 7 / 6})


def test_the_metrics_of_click_prediction_are_those_of_its_probabilities():
    task = blueprint_of(SPECS["dlrm"]).task
    logits = torch.tensor([math.log(3), -math.log(3), math.log(3)])  # 3/4, 1/4, 3/4
    batch = {"dense": None, "categories": None, "clicked": torch.tensor([1.0, 0.0, 0.0])}
    found = task.metrics(lambda dense, categories: logits, batch)
    values = {name: float(total) / count for name, (total, count) in found.items()}
    assert values == pytest.approx({"loss": -(2 * math.log(3 / 4) + math.log(1 / 4)) / 3, "accuracy": 2 / 3})


def test_every_level_of_noise_has_its_own_error():
    task = blueprint_of(SPECS["dit"]).task
    batch = task.source(0).sample("validation", 4, seeded("samples", 0))
    batch["timesteps"] = torch.tensor([0, 333, 334, 999])
    wrong_by = torch.tensor([1.0, 2.0, 3.0, 5.0])[:, None, None, None]
    found = task.metrics(lambda noised, timesteps, classes: batch["noise"] + wrong_by, batch)
    values = {name: float(total) / int(count) for name, (total, count) in found.items()}
    levels = {"loss_at_low_noise": 2.5, "loss_at_medium_noise": 9.0, "loss_at_high_noise": 25.0}
    assert values == pytest.approx({"loss": 39 / 4} | levels, rel=1e-4)


def test_the_model_sees_the_noised_image_of_its_timestep():
    task = blueprint_of(SPECS["dit"]).task
    batch = task.source(0).sample("training", 16, seeded("samples", 0))
    shares = torch.tensor([math.prod(1 - (1e-4 + (0.02 - 1e-4) * step / 999) for step in range(last + 1))
                           for last in batch["timesteps"].tolist()])[:, None, None, None]  # fmt: skip
    expected = shares.sqrt() * batch["images"] + (1 - shares).sqrt() * batch["noise"]
    seen = []

    def model(noised, timesteps, classes):
        seen.append(noised)
        return torch.zeros_like(noised)

    loss = task.loss(model, batch)
    assert torch.allclose(seen[0], expected, atol=1e-4)
    assert loss == pytest.approx(float(functional.mse_loss(torch.zeros_like(batch["noise"]), batch["noise"])))


@pytest.mark.parametrize("kind", SPECS)
def test_there_are_no_labels_to_smooth(kind):
    with pytest.raises(TrialFailed) as caught:
        smoothed(blueprint_of(SPECS[kind]).task, 0.1)
    assert caught.value.failure.code is FailureCode.INVALID_MODEL
