"""Training in turns changes no number of the training, and says of each slice what is needed to judge it."""

import itertools
import time

import pytest
import torch

from halftime.contract.request.training import TrainingConfig
from tests.factories import data_of, request, run_of
from worker.data.feed import ResidentFeed
from worker.device.host_counters import HostCounters, HostUse
from worker.messages import TrialSpec, Turn
from worker.training.clock import CpuClock
from worker.training.loop import Curves, LoopHooks, train
from worker.training.pace import Pace
from worker.training.turns import Turns
from worker.trial.run import run_trial

STEPS, WARMUP = 12, 2
SLICES = [5, 2, 3]


class Taker:
    """Gives turns at once; `meanwhile` is what happens in the pause before each."""

    def __init__(self, slices=SLICES, meanwhile=lambda: None, validates=True):
        self._turns = iter(
            [
                Turn(steps=WARMUP, is_measured=False),
                *(Turn(steps=steps) for steps in slices),
                Turn(steps=0, validates=validates),
            ]
        )
        self._meanwhile = meanwhile
        self.steps_done = []

    def next_turn(self, steps_done):
        self.steps_done.append(steps_done)
        self._meanwhile()
        return next(self._turns)


def spec(precision="fp32", turns_began=None, **training):
    asked = request(training={"batch_size": 8, "steps": STEPS, "warmup_steps": WARMUP} | training)
    return TrialSpec(
        device="cpu",
        precision=precision,
        block=3,
        position=0,
        model=asked.model,
        training=asked.config.training,
        turns_began=turns_began,
    )


def in_turns(taker, **more):
    return run_trial(spec(turns_began=time.monotonic(), **more), lambda step: None, taker)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "bf16-true"])
def test_turns_change_no_bit_of_the_training(precision):
    through = run_trial(spec(precision), lambda step: None)
    turned = in_turns(Taker(), precision=precision)
    for figure in (
        "loss_curve",
        "gradient_norms",
        "applied_steps",
        "final_learning_rate",
        "validation_loss",
        "validation_accuracy",
        "seed",
    ):
        assert getattr(turned, figure) == getattr(through, figure), figure
    for proof in ("flags", "initial_weights_sha256", "data_sha256", "held_dtypes"):
        assert getattr(turned.attestation, proof) == getattr(through.attestation, proof), proof


def test_the_slices_are_the_measured_steps():
    taker = Taker()
    trial = in_turns(taker)
    assert [(one.first_step, one.steps) for one in trial.slices] == [(2, 5), (7, 2), (9, 3)]
    assert len(trial.step_seconds) == STEPS - WARMUP
    assert taker.steps_done == [0, 2, 7, 9, 12]
    assert sum(len(trial.slice_step_seconds(one)) for one in trial.slices) == len(trial.step_seconds)


def test_every_slice_says_how_long_its_threads_waited_for_a_core_where_the_kernel_does():
    is_known = HostCounters.now().thread_run_delay_seconds is not None
    assert [one.run_delay_seconds is not None for one in in_turns(Taker()).slices] == [is_known] * len(SLICES)


def test_a_slice_has_the_waits_and_the_stolen_time_of_its_counters(monkeypatch):
    monkeypatch.setattr(HostUse, "run_delay_seconds", 1.5)
    monkeypatch.setattr(HostUse, "stolen_cpu_seconds", 0.5)
    trial = in_turns(Taker())
    assert {(one.run_delay_seconds, one.stolen_cpu_seconds) for one in trial.slices} == {(1.5, 0.5)}


def test_a_pause_is_in_no_time_of_the_training():
    pause_seconds = 0.2
    trial = in_turns(Taker(meanwhile=lambda: time.sleep(pause_seconds)))
    pauses = len(SLICES) * pause_seconds
    wall = trial.slices[-1].ended_seconds - trial.slices[0].began_seconds
    assert all(one.waited_seconds >= pause_seconds for one in trial.slices)
    assert sum(trial.step_seconds) <= trial.measured_wall_seconds <= wall - (pauses - pause_seconds)
    assert trial.training_time_seconds <= trial.trial_seconds - pauses


def test_the_step_after_a_pause_is_not_among_the_times_compared():
    """Planted: the first step of each slice takes much longer, as after a pause that emptied the caches."""
    trial = in_turns(Taker())
    first = list(itertools.accumulate(SLICES[:-1], initial=0))
    slow = [9.0 if step in first else 0.01 for step in range(STEPS - WARMUP)]
    planted = trial.model_copy(update={"step_seconds": slow})
    assert planted.compared_step_seconds() == [0.01] * (STEPS - WARMUP - len(SLICES))
    assert planted.median_step_seconds == 0.01


def test_work_in_a_pause_is_measured():
    """Planted: the process computes while another leg has its turn."""

    def compute():
        ends = time.process_time() + 0.1
        while time.process_time() < ends:
            pass

    busy, idle = in_turns(Taker(meanwhile=compute)), in_turns(Taker(meanwhile=lambda: time.sleep(0.1)))
    assert all(one.waiting_cpu_seconds >= 0.1 for one in busy.slices)
    assert all(one.waiting_cpu_seconds < 0.05 for one in idle.slices)


def test_a_leg_that_ends_before_the_others_is_not_validated():
    trial = in_turns(Taker(slices=[2, 2], validates=False))
    assert trial.ended_early
    assert (trial.validation_loss, trial.validation_accuracy, trial.validation_share) == (None, None, 0)


def test_no_turn_goes_beyond_the_steps_of_the_request():
    trial = in_turns(Taker(slices=[5, 100]))
    assert len(trial.loss_curve) == STEPS


def test_the_loop_has_the_same_losses_whatever_the_slices():
    losses = []
    for slices in ([10], [1] * 10, [4, 6]):
        settings = TrainingConfig(batch_size=8, steps=STEPS, warmup_steps=WARMUP)
        torch.manual_seed(0)
        run = run_of(request().model, "fp32", settings)
        batches = data_of(request().model, settings).training
        pace, clock, curves = Pace(settings), CpuClock(), Curves.empty(STEPS, torch.device("cpu"))
        hooks = LoopHooks(lambda: None, lambda: None, lambda: None, lambda step: None)
        train(run, ResidentFeed(batches), clock, curves, hooks, pace, Turns(Taker(slices), pace).parts())
        assert len(clock.step_seconds()) == STEPS - WARMUP
        losses.append(curves.losses.tolist())
    assert losses[0] == losses[1] == losses[2]
