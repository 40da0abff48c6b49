"""Trials of a block in real processes that take turns: one computes, the others sleep, and none is left behind."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap

import anyio
import psutil
import pytest

from halftime.contract.report.failure import Failure
from halftime.contract.report.pairs import slice_pairs
from halftime.contract.report.trial import TrialResult
from testing.processes import gone
from tests.worker.agent.test_launcher import launcher, spec, trial_processes, until
from worker.messages import BlockTurns, LegTurns, TimeLimit

pytestmark = pytest.mark.anyio

__all__ = ["launcher"]

STEPS, WARMUP = 22, 2
SLICES = (5, 5, 5, 5)
LIMIT = TimeLimit(share_seconds=100, max_seconds=120)


def specs(*precisions, steps=STEPS, **model):
    training = {"batch_size": 8, "steps": steps, "warmup_steps": WARMUP}
    return [
        spec(training, **model).model_copy(
            update={"precision": precision, "leg_name": f"{precision}-{index}", "position": index, "limit": LIMIT}
        )
        for index, precision in enumerate(precisions)
    ]


def plan(*slices, ending_seconds=0.1):
    return BlockTurns(tuple(LegTurns(WARMUP, tuple(of_leg)) for of_leg in slices), 1.0, ending_seconds)


async def run(launcher, legs, turns, after_step=lambda spec, step: None, deadline_seconds=100):
    return await launcher.run_in_turns(legs, turns, deadline_seconds, after_step)


async def test_each_leg_trains_all_its_steps_and_never_two_at_a_time(launcher):
    seen = []
    results = await run(
        launcher, specs("fp32", "bf16", "fp32"), plan(*[SLICES] * 3), lambda spec, step: seen.append((spec.leg, step))
    )
    trials = [outcome for outcome, _ in results]
    assert all(isinstance(trial, TrialResult) for trial in trials), results
    assert [len(trial.loss_curve) for trial in trials] == [STEPS] * 3
    assert [len(trial.slices) for trial in trials] == [4] * 3
    slices = sorted((one.began_seconds, one.ended_seconds) for trial in trials for one in trial.slices)
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(slices))
    first = [pair.baseline.began_seconds < pair.other.began_seconds for pair in slice_pairs(trials[0], trials[1])]
    assert first == [True, False, False, True]
    assert trials[0].attestation.initial_weights_sha256 == trials[1].attestation.initial_weights_sha256
    assert trials[0].loss_curve == trials[2].loss_curve
    assert {leg for leg, step in seen if step == STEPS} == {"fp32-0", "bf16-1", "fp32-2"}
    assert trial_processes() == []


async def test_a_process_that_waits_uses_no_cpu(launcher):
    results = await run(launcher, specs("fp32", "bf16", hidden_size=256), plan(SLICES, SLICES))
    for trial, _ in results:
        waited = sum(one.waited_seconds for one in trial.slices)
        assert sum(one.waiting_cpu_seconds for one in trial.slices) < 0.1 * waited + 0.02


async def test_a_leg_with_fewer_rounds_ends_early_and_the_others_go_on(launcher):
    (baseline, _), (slow, _) = await run(launcher, specs("fp32", "bf16"), plan(SLICES, (2, 2)))
    assert (len(baseline.loss_curve), len(slow.loss_curve)) == (STEPS, WARMUP + 4)
    assert (baseline.ended_early, slow.ended_early) == (False, True)
    assert slow.validation_loss is None
    assert len(slice_pairs(baseline, slow)) == 2


async def test_what_is_cut_short_ends_after_the_same_round_in_every_leg(launcher):
    short = [
        one.model_copy(update={"limit": TimeLimit(share_seconds=0.001, max_seconds=100)})
        for one in specs("fp32", "bf16")
    ]
    trials = [outcome for outcome, _ in await run(launcher, short, plan(SLICES, SLICES))]
    assert [len(trial.slices) for trial in trials] == [2, 2]
    assert all(trial.ended_early and trial.validation_loss is not None for trial in trials)


async def test_a_trial_that_fails_leaves_the_others_to_go_on_or_gives_them_up(launcher):
    legs = specs("fp32", "bf16", "fp32")
    legs[1] = legs[1].model_copy(update={"device": "cuda:0"})
    baseline, failed, control = (outcome for outcome, _ in await run(launcher, legs, plan(*[SLICES] * 3)))
    assert isinstance(failed, Failure)
    assert [len(trial.loss_curve) for trial in (baseline, control)] == [STEPS] * 2
    outcomes = [outcome for outcome, _ in await run(launcher, legs[:2], plan(SLICES, SLICES))]
    assert outcomes[0] is None
    assert isinstance(outcomes[1], Failure)
    assert trial_processes() == []


async def test_a_block_of_which_a_trial_is_killed_is_run_again_once(launcher):
    outcomes, rounds = [], (5,) * 400

    async def in_the_background():
        outcomes.extend(await run(launcher, specs("fp32", "bf16", steps=2002, hidden_size=256), plan(rounds, rounds)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_the_background)
        for _ in range(2):
            await until(lambda: len(trial_processes()) == 2)
            (one, other) = trial_processes()
            await until(lambda one=one: os.getpgid(one.pid) == one.pid)
            one.send_signal(signal.SIGKILL)
            await until(lambda one=one, other=other: not (one.is_running() or other.is_running()))
    failures = [outcome for outcome, _ in outcomes if outcome is not None]
    assert [failure.code for failure in failures] == ["internal"]
    assert "SIGKILL" in failures[0].detail
    assert trial_processes() == []


async def test_the_leg_whose_turn_does_not_end_is_the_one_that_timed_out(launcher):
    legs = specs("fp32", "bf16", steps=10_000, hidden_size=2048)
    results = await run(launcher, legs, plan((5,) * 1900, (5,) * 1900), deadline_seconds=8)
    assert [outcome.code for outcome, _ in results if outcome is not None] == ["timeout"]
    assert trial_processes() == []


async def test_cancelling_ends_all_processes_of_the_block(launcher):
    async with anyio.create_task_group() as tasks:
        legs = specs("fp32", "bf16", steps=10_000, hidden_size=512)
        tasks.start_soon(run, launcher, legs, plan((5,) * 1900, (5,) * 1900))
        await until(lambda: len(trial_processes()) == 2)
        await anyio.sleep(0.5)
        tasks.cancel_scope.cancel()
    assert trial_processes() == []
    assert not [child for child in psutil.Process().children(recursive=True) if child.status() == "zombie"]


async def test_no_trial_outlives_a_worker_that_is_killed_in_the_middle_of_a_slice():
    """The one that trains and the one that sleeps both end, without anything that the worker could do about it."""
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import anyio
                from tests.worker.agent.test_in_turns import plan, run, specs
                from tests.worker.agent.test_launcher import TrialLauncher
                if __name__ == "__main__":
                    legs = specs("fp32", "bf16", steps=10_000, hidden_size=2048)
                    turns = plan((50,) * 190, (50,) * 190)
                    anyio.run(run, TrialLauncher(), legs, turns, lambda spec, step: print(step, flush=True))
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},  # noqa: PTH109
    )
    with worker:
        while int(worker.stdout.readline()) <= WARMUP:  # then the slices begin
            pass
        orphans = trial_processes(worker.pid)
        worker.kill()
    assert len(orphans) == 2
    await until(lambda: gone(orphans))
