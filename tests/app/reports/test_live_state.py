"""The reducer: what events and progress come to, whoever shows it."""

import pytest

from app.reports.live.reducer import STATUSES, apply, live_state
from app.reports.live.state import LiveState
from halftime.contract.events import EVENTS
from halftime.contract.resources.benchmark import TERMINAL, Progress
from tests.app.cli.test_live_view import benchmark
from tests.events import MOMENT, events

STARTED = ("started", {"attempt": 1, "worker": "node:cpu"})
LOST = ("worker_lost", {"attempt": 1, "worker": "node:cpu"})
PROGRESS = Progress(
    phase="measure", block=1, max_blocks=2, leg="bf16", step=1, total_steps=2, fraction=0.1, eta_seconds=None
)
IN_TURNS = PROGRESS.model_copy(update={"in_turns": True})


def state_after(*told, progress=None):
    state = LiveState("queued", "queued")
    for heard in [*events(*told), *([progress] if progress else [])]:
        apply(state, heard)
    return state


def trial(leg, block, **changes):
    data = {"leg": leg, "block": block, "phase": "measure", "median_step_seconds": 0.01, "validation_loss": 1.0}
    return "trial_finished", data | changes


def failure(leg, block, code="timeout", **changes):
    return "trial_failed", {"leg": leg, "block": block, "phase": "measure", "code": code, "detail": "x"} | changes


def block(number, value=None):
    speedup = {"value": value, "ci_low": value - 1, "ci_high": value + 1} if value else None
    return "block_finished", {"block": number, "planned_blocks": 4, "speedups": {"bf16": speedup}}


def reused(blocks):
    return "blocks_reused", {"blocks": blocks}


def test_an_attempt_begins_anew():
    state = state_after(STARTED, trial("fp32", 0), block(0, 2.0), failure("bf16", 1), LOST, STARTED)
    assert (state.attempt.trials, state.speedups, state.failures) == ({}, {}, {})
    assert (state.finished_blocks, state.planned_blocks, state.started_at) == (0, None, MOMENT)


def test_blocks_that_an_attempt_reuses_stay_with_their_speedups():
    told = [trial("fp32", number) for number in range(3)] + [block(number, 2.0 + number) for number in range(3)]
    state = state_after(STARTED, *told, LOST, STARTED, reused(2))
    assert state.blocks == [0, 1]
    assert sorted(state.attempt.speedups) == [0, 1]
    assert state.speedups["bf16"].value == 3.0
    assert state.finished_blocks == 2


def test_blocks_that_an_attempt_without_a_trial_did_not_reuse_are_there_for_the_next():
    told = [STARTED, trial("fp32", 0), trial("fp32", 1), LOST, STARTED, LOST, STARTED, reused(2)]
    assert state_after(*told).blocks == [0, 1]


def test_the_trial_under_way_runs_unless_it_has_ended_before():
    running = state_after(STARTED, trial("fp32", 0), progress=PROGRESS)
    assert running.running == [(0, "bf16")]
    assert (running.legs, running.blocks) == (["fp32", "bf16"], [0])
    assert state_after(STARTED, trial("bf16", 0), progress=PROGRESS).running == []
    searching = PROGRESS.model_copy(update={"phase": "capacity"})
    assert state_after(STARTED, progress=searching).running == []


SURVEYED = [trial("fp32", 0, phase="survey"), trial("bf16", 0, phase="survey", median_step_seconds=0.005)]


def test_the_survey_is_no_block_and_has_no_speedup():
    state = state_after(STARTED, *SURVEYED)
    assert (state.attempt.trials, state.finished_blocks, state.blocks) == ({}, 0, [])
    assert (state.surveyed, state.legs) == (["fp32", "bf16"], ["fp32", "bf16"])
    assert state.speedup("fp32", "bf16") is None


def test_a_leg_that_fails_in_the_survey_has_failed_and_takes_no_turns():
    state = state_after(STARTED, SURVEYED[0], failure("bf16", 0, phase="survey"), progress=IN_TURNS)
    assert state.warnings == ["bf16 failed in the survey (timeout): x"]
    assert state.failures == {"bf16": "timeout"}
    assert state.running == [(0, "fp32")]


def test_a_leg_under_survey_is_under_way_but_in_no_block():
    state = state_after(STARTED, SURVEYED[0], progress=PROGRESS.model_copy(update={"is_survey": True}))
    assert (state.surveyed, state.running, state.in_turns) == (["fp32", "bf16"], [], False)


def test_after_the_survey_the_legs_of_a_block_are_under_way_together():
    state = state_after(STARTED, *SURVEYED, progress=IN_TURNS)
    assert state.in_turns
    assert state.running == [(0, "fp32"), (0, "bf16")]
    apply(state, IN_TURNS.model_copy(update={"leg": "fp32"}))
    assert {leg: progress.step for leg, progress in state.of_legs.items()} == {"bf16": 1, "fp32": 1}
    apply(state, IN_TURNS.model_copy(update={"leg": "fp32", "block": 2}))
    assert list(state.of_legs) == ["fp32"]


def test_after_a_survey_without_turns_one_leg_is_under_way():
    state = state_after(STARTED, *SURVEYED, progress=PROGRESS)
    assert not state.in_turns
    assert state.running == [(0, "bf16")]


@pytest.mark.parametrize("turns", [[], [trial("fp32", 0), failure("bf16", 0, "out_of_memory")]])
def test_where_legs_cannot_take_turns_the_survey_is_the_first_block(turns):
    kind, data = block(0)
    state = state_after(STARTED, *SURVEYED, *turns, (kind, data | {"pairing": "trials"}), progress=PROGRESS)
    assert (state.blocks, state.finished_blocks, state.in_turns, state.failures) == ([0], 1, False, {})
    assert state.speedup("fp32", "bf16") == pytest.approx(2.0)


def test_blocks_that_an_attempt_reuses_stay_with_the_survey():
    told = [STARTED, *SURVEYED, trial("fp32", 0), trial("bf16", 0), LOST, STARTED, reused(1)]
    assert state_after(*told).surveyed == ["fp32", "bf16"]


def test_a_benchmark_that_does_not_run_has_no_progress():
    state = state_after(STARTED, progress=PROGRESS)
    assert state.progress == PROGRESS
    (lost,) = events(LOST)
    apply(state, lost)
    assert state.progress is None


def test_trials_of_the_capacity_search_are_none_of_the_comparison():
    state = state_after(STARTED, trial("fp32", 0, phase="capacity"), failure("bf16", 3, phase="capacity"))
    assert (state.attempt.trials, state.finished_blocks, state.warnings) == ({}, 0, [])


def test_a_leg_has_failed_until_a_later_trial_of_it_finishes():
    assert state_after(STARTED, trial("fp16", 0), failure("fp16", 1)).failures == {"fp16": "timeout"}
    assert state_after(STARTED, failure("fp16", 0), trial("fp16", 0)).failures == {}
    assert state_after(STARTED, failure("fp16", 0), trial("fp16", 1)).failures == {}


def test_a_failed_repetition_leaves_the_first_result():
    state = state_after(STARTED, trial("fp16", 0), failure("fp16", 0))
    assert [one.block for one in state.of_leg("fp16")] == [0]
    assert state.warnings == ["fp16 failed in block 1 (timeout): x"]


def test_a_trial_that_failed_is_warned_of():
    state = state_after(STARTED, failure("fp16", 0), failure("bf16", 1, "time_budget", detail="No time is left."))
    assert state.warnings == ["fp16 failed in block 1 (timeout): x", "bf16 in block 2: No time is left."]


def test_the_speedups_of_the_last_block_count_and_without_an_interval_the_bare_ratio():
    pair = [trial("fp32", 0, median_step_seconds=0.02), trial("bf16", 0)]
    assert state_after(STARTED, *pair, block(0)).speedup("fp32", "bf16") == pytest.approx(2.0)
    assert state_after(STARTED, *pair, block(0, 3.0), block(1, 4.0)).speedup("fp32", "bf16").value == 4.0


@pytest.mark.parametrize("kind", STATUSES)
def test_every_event_that_changes_the_status_is_known(kind):
    assert kind in EVENTS
    state = state_after((kind, {}))
    assert (state.status, state.status_text) == STATUSES[kind]


def test_every_status_that_an_event_can_bring_is_told():
    assert {status for status, _ in STATUSES.values()} >= {"queued", "running", "cancelling", *TERMINAL}


@pytest.mark.parametrize("odd", [("trial_finished", {"leg": 5}), ("blocks_reused", {}), ("a_newer_kind", {"leg": "x"})])
def test_an_event_that_is_not_understood_changes_nothing(odd):
    told = [STARTED, trial("fp32", 0), block(0)]
    assert state_after(*told, odd) == state_after(*told)


def test_the_state_of_a_benchmark_has_its_progress_while_it_runs():
    told = events(STARTED, trial("fp32", 0))
    running = live_state(benchmark(status="running", progress=PROGRESS), told)
    assert (running.running, running.blocks) == ([(0, "bf16")], [0])
    assert live_state(benchmark(status="failed", progress=PROGRESS), told).running == []
