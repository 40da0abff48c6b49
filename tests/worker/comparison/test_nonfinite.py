"""A loss that is not finite: the failure says why, and advises what helps against that."""

import math

import numpy as np
import pytest

from halftime.contract.request.training import GradScalerConfig
from halftime.contract.resources.worker import PrecisionSupport
from tests.factories import CPU, comparison, numerics, request, trial
from worker.comparison.blocks import compare
from worker.comparison.nonfinite import nonfinite
from worker.messages import TrialSpec
from worker.report.build import make_report
from worker.trial.run import run_trial

STEPS = 5
RATE = "learning rate"


def why(precision="fp16", device=CPU, others=(), settings=None, scaler=None, **changes):
    """The failure's detail for a trial with these samples; `others` are earlier trials of its leg."""
    asked = request(candidates=[precision])
    training = asked.config.training.model_copy(update=settings or {})
    measured = comparison(asked, device)
    leg = measured.candidates[0]
    spec = TrialSpec(device="cpu", precision=precision, block=0, position=1, model=asked.model, training=training)
    measured.request = asked.model_copy(update={"config": asked.config.model_copy(update={"training": training})})
    measured.baseline.trials = [trial(spec.model_copy(update={"precision": "fp32"}))]
    made = trial(spec, **changes)
    if scaler is not None:
        made = made.model_copy(update={"grad_scaler": made.grad_scaler.model_copy(update=scaler)})
    leg.trials = [*others, made]
    found = nonfinite(measured, leg, made)
    return found and found.detail


def skipping(**trace):
    """A trace in which every step was skipped."""
    return {"skipped_steps": list(range(STEPS))} | trace


TOO_HIGH = skipping(initial_scale=2.0**40, final_scale=2.0**35)


def test_a_finite_loss_is_no_failure():
    assert why() is None
    assert why(scaler={"skipped_steps": [0]}, loss_curve=[None, 1.0, 1.0, 1.0, 1.0], applied_steps=4) is None


def test_a_scale_that_had_no_time_to_come_down_is_told_where_it_would_have_been_finite():
    said = why(scaler=TOO_HIGH, applied_steps=0, numerics=numerics(loss_scale=2.0**20))
    assert "no step was applied: the gradient scaler skipped all 5 steps" in said
    assert "set grad_scaler.init_scale to 1.04858e+06, or warmup_steps to more than 20" in said
    assert RATE not in said


def test_the_steps_down_are_counted_in_factors_of_the_request():
    settings = {"grad_scaler": GradScalerConfig(backoff_factor=0.25)}
    said = why(settings=settings, scaler=TOO_HIGH, applied_steps=0, numerics=numerics(loss_scale=2.0**20))
    assert "warmup_steps to more than 10" in said


@pytest.mark.parametrize("known", [None, numerics(loss_scale=2.0**36)], ids=["unknown", "too small a sample"])
def test_without_a_scale_that_is_known_to_do_it_a_smaller_one_is_advised(known):
    said = why(scaler=TOO_HIGH, applied_steps=0, numerics=known)
    assert "init_scale to less than 3.43597e+10, or use more steps" in said
    assert RATE not in said


def test_gradients_that_no_scale_makes_finite_are_no_matter_of_the_scale():
    said = why(scaler=TOO_HIGH, applied_steps=0, numerics=numerics(gradient_relative_rmse=None))
    assert "no scale makes gradients finite" in said
    assert "init_scale" not in said


def test_inputs_beyond_fp16_are_named():
    said = why(scaler=skipping(largest_input=3e5), applied_steps=0, loss_curve=[None] * STEPS)
    assert "inputs are as large as 3e+05, and fp16 ends at 65,504. Scale the inputs down, or use bf16" in said
    assert RATE not in said


def test_a_forward_pass_that_overflows_is_named_with_its_first_module():
    trace = skipping(largest_input=3.0, first_overflow=["layers.1", "layers.2"])
    said = why(scaler=trace, applied_steps=0, loss_curve=[None] * STEPS)
    assert "the forward pass itself leaves the range of fp16, which ends at 65,504, in layers.1 first" in said
    assert RATE not in said
    assert "init_scale" not in said


def test_bf16_is_not_advised_where_the_device_lacks_it():
    absent = PrecisionSupport(precision="bf16", kernels="absent", flops_per_second=None, remedy="none")
    device = CPU.model_copy(update={"precisions": [absent]})
    assert "bf16" not in why(device=device, scaler=skipping(largest_input=3e5), applied_steps=0)


def test_a_short_trial_whose_scale_may_still_come_down_has_not_failed():
    assert why(scaler=TOO_HIGH, applied_steps=0, ended_early=True) is None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_loss_that_was_finite_has_diverged(precision):
    said = why(precision, loss_curve=[1.0, 40.0, None, None, None], validation_loss=None)
    assert "training diverged: the loss was 1 at first, 40 before step 3, and not finite there" in said
    assert "Lower the learning rate, or max_grad_norm." in said


def test_clipping_is_advised_where_there_is_none():
    said = why("bf16", settings={"max_grad_norm": None}, loss_curve=[1.0, None, None, None, None])
    assert "or set max_grad_norm" in said


def test_a_loss_that_never_was_finite_has_not_diverged():
    said = why("bf16", loss_curve=[None] * STEPS, validation_loss=None)
    assert "not finite in step 1, before any update could diverge. In fp32 it was finite" in said
    assert RATE not in said


def test_a_loss_that_is_not_finite_at_validation_alone_is_said_to_be_there():
    assert "finite in training, but not at validation" in why("bf16", validation_loss=None)


def test_a_failed_scale_is_not_warned_of_with_another_remedy():
    measured = comparison(request(candidates=["fp16"]))
    spec = TrialSpec(
        device="cpu", precision="fp16", block=0, position=1, model=measured.request.model,
        training=measured.request.config.training,
    )  # fmt: skip
    made = trial(spec, applied_steps=0)
    trace = made.grad_scaler.model_copy(update=TOO_HIGH | {"unsettled_after_warmup": True})
    measured.baseline.trials = [trial(spec.model_copy(update={"precision": "fp32"}))]
    measured.candidates[0].trials = [made.model_copy(update={"grad_scaler": trace})]
    measured.candidates[0].failure = nonfinite(measured, measured.candidates[0], measured.candidates[0].trials[0])
    assert not any("bf16" in warning for warning in make_report("id", measured).warnings)


@pytest.mark.anyio
async def test_following_the_advice_trains():
    """Real trials: FP16 that skips every step, and the same with the scale that its failure names."""

    async def run(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step)

    training = {"batch_size": 8, "steps": 8, "warmup_steps": 2, "validation_samples": 8}

    async def failure_of(init_scale):
        asked = request(candidates=["fp16"], training=training | {"grad_scaler": {"init_scale": init_scale}})
        measured = await compare(comparison(asked), run, lambda progress: None)
        return measured.candidates[0].failure

    detail = (await failure_of(2.0**40)).detail
    assert RATE not in detail
    advised = float(detail.split("grad_scaler.init_scale to ")[1].split(",")[0])
    steps_down = int(detail.split("warmup_steps to more than ")[1].split(",")[0])
    assert 2.0**40 / 2**steps_down == pytest.approx(advised, rel=1e-5)
    assert await failure_of(2.0 ** round(math.log2(advised))) is None


@pytest.mark.anyio
async def test_inputs_that_fp16_cannot_hold_are_found_in_real_trials(monkeypatch, tmp_path):
    chance = np.random.default_rng(0)
    inputs = 3e5 * chance.normal(size=(64, 8))
    np.savez(tmp_path / "huge.npz", inputs=inputs.astype("f4"), targets=chance.integers(0, 4, 64))
    monkeypatch.setenv("HALFTIME_DATASETS_DIR", str(tmp_path))

    async def run(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step)

    asked = request(candidates=["fp16"], data={"kind": "arrays", "name": "huge.npz"})
    measured = await compare(comparison(asked), run, lambda progress: None)
    (leg,) = measured.candidates
    assert 65_504 < leg.trials[0].grad_scaler.largest_input <= abs(inputs).max() * (1 + 1e-6)
    assert "Scale the inputs down" in leg.failure.detail
