"""Tasks whose loss the library's models compute: each learns, and is measured and weighted as it says."""

import copy
import math

import pytest
import torch
from torch import nn

from halftime.contract.models import TransformersSpec
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import IGNORED
from testing.toys import TASKS, TOYS
from tests.faults.test_loop import planted
from worker.data.batches import map_tensors, split
from worker.data.source import best_possible, seeded
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.training import loop as training
from worker.training.held import hold
from worker.training.loop import add_gradients, training_step, validate
from worker.training.precision import PRECISIONS
from worker.trial.run import run_trial

CPU = torch.device("cpu")


@pytest.fixture(params=TASKS)
def toy(request):
    return TOYS[request.param]


def prepared(toy, precision="fp32", **settings):
    """A run of a toy, and a source of its data."""
    config = TrainingConfig(
        **{"batch_size": toy.batch_size, "steps": toy.steps, "warmup_steps": 1, "learning_rate": toy.learning_rate}
        | {"optimizer": "adamw", "schedule": "constant"}
        | settings
    )
    blueprint = blueprint_of(TransformersSpec(**toy.model))
    torch.manual_seed(0)
    model = blueprint.build()
    hold(model, PRECISIONS[precision].weights_dtype)
    run = training.prepare(model, blueprint.task, PRECISIONS[precision], config, CPU)
    return run, blueprint.task.source(seed=0)


def tell_queries_apart(*models):
    """Gives queries that all begin as zeros values of their own: identical ones match any object equally well, and
    which is matched, and so the gradient, would be up to how a CPU rounds.
    """
    for model in models:
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            if parameter.dim() == 3 and not parameter.any():
                nn.init.normal_(parameter, std=0.5, generator=generator)


def drawn(source, samples):
    """A batch of training."""
    return source.sample("training", samples, seeded("training", 0))


def doubled(batch):
    """A batch with its floats in FP64."""
    return map_tensors(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, batch)


def held_out(source, samples=64, size=32):
    return list(split(source.sample("validation", samples, seeded("validation", 0)), size))


def test_a_model_learns(toy):
    """The metric goes from chance at least as far towards the best as the toy says."""
    run, source = prepared(toy)
    batches = held_out(source, samples=96)
    before = validate(run.model, run.task, batches).values
    generator = seeded("training", 0)
    for _ in range(toy.steps):
        training_step(run, source.sample("training", toy.batch_size, generator))
    after = validate(run.model, run.task, batches).values
    assert after["loss"] < before["loss"]
    assert (after[toy.metric] - toy.reached) * (1 if toy.rises else -1) > 0, (before, after)
    assert (before[toy.metric] - toy.reached) * (1 if toy.rises else -1) < 0, (before, after)


def test_an_untrained_model_is_at_chance_and_none_beats_the_best(toy):
    run, source = prepared(toy)
    values = validate(run.model, run.task, held_out(source)).values
    best = best_possible(source)
    assert values.keys() == {metric.name for metric in run.task.reported}
    for metric in run.task.reported:
        limit = best.get(metric.name) if metric.best is None else metric.best
        if limit is not None:
            assert (limit - values[metric.name]) * (1 if metric.better == "higher" else -1) > 0
    if toy.chance_metric is not None:
        chance = {metric.name: metric.chance for metric in run.task.reported}[toy.chance_metric]
        assert values[toy.chance_metric] == pytest.approx(chance, rel=0.25)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "bf16-true"])
def test_a_step_runs_in_every_precision(toy, precision):
    run, source = prepared(toy, precision)
    step = training_step(run, drawn(source, 4))
    assert math.isfinite(float(step.loss))


def test_a_step_in_fp32_is_that_in_fp64_up_to_rounding(toy):
    run, source = prepared(toy)
    exact, _ = prepared(toy)
    tell_queries_apart(run.model, exact.model)
    run.model.eval()
    exact.model.double().eval()
    batch = drawn(source, 8)
    loss = float(add_gradients(run, batch))
    assert float(add_gradients(exact, doubled(batch))) == pytest.approx(loss, rel=1e-5)
    errors = [
        (float((one.grad.double() - other.grad).norm()), float(other.grad.norm()))
        for one, other in zip(run.parameters, exact.parameters, strict=True)
        if other.grad is not None
    ]
    error, size = (math.hypot(*norms) for norms in zip(*errors, strict=True))
    assert error < 1e-3 * size


def test_an_examined_trial_has_every_metric(toy):
    settings = TrainingConfig(batch_size=4, steps=2, warmup_steps=1, validation_samples=8)
    model = TransformersSpec(**toy.model)
    trial = TrialSpec(
        device="cpu", precision="bf16", block=0, position=0, model=model, training=settings, examined=True
    )
    result = run_trial(trial, lambda step: None)
    names = {metric.name for metric in blueprint_of(model).task.reported}
    assert {metric.name for metric in result.data.metrics} == names
    assert all(math.isfinite(result.metric(name)) for name in names)
    assert (result.numerics is None) == ("numerics" in result.not_examined)
    assert any(dtypes == ["bfloat16"] for dtypes in result.attestation.forward_dtypes.values())


def test_parts_of_a_batch_add_up_to_the_whole(toy):
    if toy.model["task"] == "contrastive":
        pytest.skip("a part is compared only with itself")
    run, source = prepared(toy, gradient_accumulation=4)
    whole, _ = prepared(toy)
    tell_queries_apart(run.model, whole.model)
    batch = doubled(drawn(source, 8))
    for model in (run.model, whole.model):
        model.double().eval()  # dropout and batch norm differ from part to part
    assert float(add_gradients(run, batch)) == pytest.approx(float(add_gradients(whole, batch)), rel=1e-5)
    for one, other in zip(run.parameters, whole.parameters, strict=True):
        if other.grad is not None:
            assert torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_the_same_seed_gives_the_same_samples_and_another_gives_others(toy):
    source, again = (blueprint_of(TransformersSpec(**toy.model)).task.source(seed=3) for _ in range(2))
    one, other, different = (
        drawn.sample("training", 4, seeded("training", seed)) for drawn, seed in ((source, 1), (again, 1), (again, 2))
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], different[name]) for name in one)
    assert all(len(tensor) == 4 for tensor in one.values())


def test_the_bytes_of_a_sample_are_those_of_its_tensors(toy):
    source = blueprint_of(TransformersSpec(**toy.model)).task.source(seed=0)
    sample = source.sample("training", 1, seeded("training", 0))
    assert source.sample_bytes == sum(tensor.nbytes for tensor in sample.values())


def test_metrics_of_parts_add_up_to_those_of_the_whole(toy):
    if toy.model["task"] == "contrastive":
        pytest.skip("a part is compared only with itself")
    run, source = prepared(toy)
    batch = source.sample("validation", 12, seeded("validation", 0))
    whole, parts = (validate(run.model, run.task, batches).values for batches in ([batch], list(split(batch, 5))))
    assert parts == pytest.approx(whole, rel=1e-4)


def autocast_in(toy, act):
    """Whether autocast is on where a toy's model is called."""
    run, source = prepared(toy, "bf16")
    seen = []
    run.model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    act(run, source)
    return seen


def check_metrics_are_in_fp32(toy, loop):
    assert autocast_in(toy, lambda run, source: loop.validate(run.model, run.task, held_out(source, 8))) == [False]


def check_the_loss_is_under_autocast(toy, loop):
    assert autocast_in(toy, lambda run, source: loop.add_gradients(run, drawn(source, 4))) == [True]


def test_the_loss_is_under_autocast_and_metrics_are_in_fp32(toy):
    check_the_loss_is_under_autocast(toy, training)
    check_metrics_are_in_fp32(toy, training)


def test_metrics_under_autocast_are_found(toy):
    line = "@torch.no_grad()\ndef validate("
    faulty = planted(line, f'@torch.autocast("cpu", dtype=torch.bfloat16)\n{line}')
    with pytest.raises(AssertionError):
        check_metrics_are_in_fp32(toy, faulty)


def test_a_loss_outside_autocast_is_found(toy):
    faulty = planted("        with run.autocast:\n", "        if True:\n")
    with pytest.raises(AssertionError):
        check_the_loss_is_under_autocast(toy, faulty)


def test_ignored_tokens_do_not_count():
    run, source = prepared(TOYS["token-classification"])
    run.model.eval()
    batch = drawn(source, 8)
    batch["labels"][:6, 3:] = IGNORED
    assert int(run.task.predictions(batch)) == 6 * 3 + 2 * batch["labels"].shape[1]
    parts = [add_gradients(run, part) * run.task.predictions(part) for part in split(batch, 4)]
    whole = add_gradients(run, batch)
    assert float(sum(parts) / run.task.predictions(batch)) == pytest.approx(float(whole), rel=1e-5)


def test_a_loss_in_fp64_leaves_the_default_dtype():
    run, source = prepared(TOYS["object-detection"])
    batch = drawn(source, 2)
    loss = run.task.loss(copy.deepcopy(run.model).double(), doubled(batch))
    assert loss.dtype is torch.float64
    assert torch.get_default_dtype() is torch.float32
