"""Whether legs take turns, how, and what the report makes of it; trials are made up."""

import math
from dataclasses import replace
from types import SimpleNamespace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.report.block import KeptBlock
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from tests.factories import comparison, gpu_telemetry, request, telemetry
from tests.worker.comparison import in_turns
from tests.worker.comparison.in_turns import MIB, Machine, survey, turned
from worker.comparison import comparison_run
from worker.comparison import turns as planning
from worker.comparison.blocks import compare
from worker.comparison.disturbance import _loads
from worker.comparison.leg_failures import BenchmarkFailed
from worker.comparison.specs import spec_of
from worker.comparison.turns import LEAST_SLICE_STEPS, order_of_round, plan_turns, slices_of
from worker.report.build import make_report

pytestmark = pytest.mark.anyio

TRAINING = {"batch_size": 8, "steps": 85, "warmup_steps": 5}


def asked(training=None, **measurement):
    return request(training=TRAINING | (training or {}), measurement={"min_blocks": 4, "max_blocks": 4} | measurement)


async def run(machine=None, benchmark_request=None, earlier=(), kept=None):
    """The report, and the machine with what it was asked for."""
    machine = machine or Machine()
    measured = comparison(benchmark_request or asked())

    async def keep(block):
        if kept is not None:
            kept.append(block)

    await compare(measured, machine.run_trial, machine.progress.append, keep, earlier, machine.run_turns)
    return make_report("id", measured), machine


async def test_each_leg_is_surveyed_alone_and_then_all_take_turns():
    report, machine = await run()
    assert [(spec.leg, spec.phase, spec.block, spec.examined) for spec in machine.specs] == [
        ("fp32", "survey", 0, True),
        ("bf16", "survey", 0, True),
    ]
    assert [[spec.block for spec in specs] for specs, _ in machine.blocks] == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert not any(spec.examined for specs, _ in machine.blocks for spec in specs)
    assert (report.pairing, report.blocks) == ("turns", 4)
    assert report.baseline.survey is not None
    assert len(report.baseline.trials) == 4
    assert report.comparisons[0].speedup.value == pytest.approx(2)
    assert report.verdict == "pass", report.reasons
    assert report.attestation.ok


@pytest.mark.parametrize(
    ("explain", "explained"), [(True, True), ({"verify": True}, True), (False, False)], ids=["on", "verified", "off"]
)
async def test_the_survey_alone_is_explained_if_the_request_does_not_switch_it_off(explain, explained):
    measurement = {"min_blocks": 4, "max_blocks": 4}
    _, machine = await run(benchmark_request=request(training=TRAINING, measurement=measurement, explain=explain))
    assert [spec.explained for spec in machine.specs] == [explained, explained]
    assert not any(spec.explained for specs, _ in machine.blocks for spec in specs)


async def test_a_report_of_turns_survives_json_and_can_be_derived_again():
    report, _ = await run()
    assert Report.model_validate_json(report.model_dump_json()) == report


async def test_progress_rises_to_one_through_the_survey():
    _, machine = await run()
    fractions = [seen.fraction for seen in machine.progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    first, last = machine.progress[0], machine.progress[-1]
    assert (first.is_survey, first.in_turns) == (True, False)
    assert (last.is_survey, last.in_turns) == (False, True)


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("legs", [2, 3])
def test_the_order_within_a_block_is_balanced(block, legs):
    first = [order_of_round(legs, block, index)[0] == 0 for index in range(8)]
    assert sum(first) == 4
    assert sum((1 if is_first else -1) * index for index, is_first in enumerate(first)) == 0  # a linear drift cancels
    assert order_of_round(legs, block, 0) != order_of_round(legs, block + 1, 0)


@given(st.integers(min_value=4, max_value=2000), st.floats(min_value=1e-5, max_value=100))
def test_slices_divide_the_measured_steps_into_an_even_number(measured, seconds):
    slices = slices_of(measured, seconds)
    assert sum(slices) == measured
    assert len(slices) % 2 == 0
    assert max(slices) - min(slices) <= 1
    assert min(slices) >= 2
    if measured >= 2 * LEAST_SLICE_STEPS:
        assert min(slices) >= LEAST_SLICE_STEPS


async def test_a_drifting_machine_does_not_look_like_a_speedup():
    """Planted: the machine slows by half within each block; with the order fixed it reads as a speedup."""

    def drifting(specs, turns):
        return turned(specs, turns, machine=lambda seconds: 1 + 0.5 * seconds, step_seconds=dict.fromkeys(SAME, 0.01))

    report, _ = await run(Machine(survey=_same, turned=drifting))
    assert report.comparisons[0].speedup.value == pytest.approx(1, abs=0.002)


SAME = ("fp32", "bf16")


def _same(spec):
    return survey(spec, step_seconds=dict.fromkeys(SAME, 0.01))


async def test_with_the_order_fixed_the_drift_would_be_a_speedup_and_the_report_is_invalid(monkeypatch):
    monkeypatch.setattr("tests.worker.comparison.in_turns.order_of_round", lambda legs, block, index: range(legs))

    def drifting(specs, turns):
        return turned(specs, turns, machine=lambda seconds: 1 + 0.5 * seconds, step_seconds=dict.fromkeys(SAME, 0.01))

    report, _ = await run(Machine(survey=_same, turned=drifting))
    assert abs(report.comparisons[0].speedup.value - 1) > 0.002
    assert report.verdict == "invalid"
    assert "balanced_order" in {check.name for check in report.attestation.checks if not check.ok}


async def test_a_slice_counted_twice_makes_the_report_invalid():
    def twice(specs, turns):
        trials = turned(specs, turns)
        slices = [*trials[0].slices[:-1], trials[0].slices[0]]
        return [trials[0].model_copy(update={"slices": slices}), trials[1]]

    report, _ = await run(Machine(turned=twice))
    assert report.verdict == "invalid"
    assert "every_step_once" in {check.name for check in report.attestation.checks if not check.ok}


async def test_slices_at_the_same_time_make_the_report_invalid():
    def together(specs, turns):
        trials = turned(specs, turns)
        moved = [one.model_copy(update={"began_seconds": 0.0}) for one in trials[1].slices]
        return [trials[0], trials[1].model_copy(update={"slices": moved})]

    report, _ = await run(Machine(turned=together))
    assert report.verdict == "invalid"
    assert "one_at_a_time" in {check.name for check in report.attestation.checks if not check.ok}


async def test_a_disturbed_pair_is_left_out_by_what_the_machine_did():
    def disturbed(specs, turns):
        return [_with_load(one, slice_index=2) for one in turned(specs, turns)]

    report, _ = await run(Machine(turned=disturbed))
    (found,) = report.comparisons
    rounds = len(report.baseline.trials[0].slices)
    assert (found.pairs, found.disturbed_pairs) == (4 * (rounds - 2), 8)  # one round is too short to be judged alone
    assert report.baseline.disturbed_trials == 0


def _with_load(one, slice_index):
    busy = one.slices[slice_index].model_copy(update={"foreign_cpu_seconds": 99.0, "ended_seconds": 99.0})
    slices = [busy if index == slice_index else calm for index, calm in enumerate(one.slices)]
    return one.model_copy(update={"slices": slices})


async def test_where_most_pairs_are_disturbed_all_count_and_the_report_says_so():
    def disturbed(specs, turns):
        trials = turned(specs, turns)
        for index in range(len(trials[0].slices)):
            trials = [_with_load(one, index) for one in trials]
        return trials

    report, _ = await run(Machine(turned=disturbed))
    (found,) = report.comparisons
    assert (found.pairs, found.disturbed_pairs) == (4 * len(report.baseline.trials[0].slices), 0)
    assert report.baseline.disturbed_trials == 4


WHOLE = {
    "the request asks for whole trials": asked(pairing="trials"),
    "loader": request(
        training=TRAINING, measurement={"min_blocks": 4, "max_blocks": 4}, data={"kind": "synthetic", "loader": {}}
    ),
    "at least 4 measured steps": asked({"steps": 8}),
}


@pytest.mark.parametrize("reason", WHOLE)
async def test_where_turns_would_be_unfair_whole_trials_are_run_and_the_report_says_why(reason):
    report, machine = await run(benchmark_request=WHOLE[reason])
    assert report.pairing == "trials"
    assert reason in report.pairing_reason
    assert machine.blocks == []
    assert len(machine.specs) == 8
    assert report.baseline.survey is None


async def test_legs_that_do_not_fit_together_have_been_surveyed_in_vain_but_not_for_nothing(monkeypatch):
    monkeypatch.setattr(planning, "available_host_bytes", lambda: 199 * MIB)
    report, machine = await run()
    assert report.pairing == "trials"
    assert "together" in report.pairing_reason
    assert len(machine.specs) == 8  # the survey is the first block
    assert [trial.block for trial in report.baseline.trials] == [0, 1, 2, 3]


async def test_on_a_busy_machine_a_survey_is_run_again_once():
    busy = telemetry(foreign_cores=99.0)
    report, machine = await run(Machine(survey=lambda spec: survey(spec, telemetry=busy)))
    assert [spec.leg for spec in machine.specs] == ["fp32", "fp32", "bf16", "bf16"]
    assert report.pairing == "turns"
    assert "other programs" in report.baseline.survey.disturbances[0]


async def test_running_out_of_memory_in_company_falls_back_to_whole_trials():
    def crowded(specs, turns):
        if specs[0].block == 1:
            return [None, Failure.of(FailureCode.OUT_OF_MEMORY, "too little")]
        return turned(specs, turns)

    kept = []
    report, _ = await run(Machine(turned=crowded), kept=kept)
    assert report.pairing == "trials"
    assert "bf16 ran out of memory beside the other legs" in report.pairing_reason
    assert [block.pairing for block in kept] == ["survey", "turns", "trials", "trials", "trials", "trials"]
    assert [block.index for block in kept] == [0, 1, 0, 1, 2, 3]
    assert (report.blocks, len(report.baseline.trials)) == (4, 4)
    assert not any(trial.slices for trial in report.baseline.trials)
    assert report.comparisons[0].candidate.failure is None


async def test_a_leg_that_computes_in_its_pauses_falls_back_to_whole_trials():
    """Planted: threads of the waiting leg spin."""

    def spinning(specs, turns):
        trials = turned(specs, turns)
        slices = [one.model_copy(update={"waiting_cpu_seconds": 0.09}) for one in trials[1].slices]
        return [trials[0], trials[1].model_copy(update={"slices": slices})]

    report, _ = await run(Machine(turned=spinning))
    assert report.pairing == "trials"
    assert "bf16 used 0.9 CPU cores while it waited" in report.pairing_reason


@pytest.mark.parametrize("leg", [0, 1])
async def test_a_failure_of_one_leg_ends_it_as_in_whole_trials(leg):
    def failing(specs, turns):
        trials = turned(specs, turns)
        failure = Failure.of(FailureCode.TRAINING_FAILED, "no kernel")
        return [failure if index == leg else None for index, _ in enumerate(trials)]

    if leg == 0:
        with pytest.raises(BenchmarkFailed) as caught:
            await run(Machine(turned=failing))
        assert caught.value.failure.code == "invalid_model"
        return
    report, _ = await run(Machine(turned=failing))
    assert report.stopped_by == "leg_failed"
    assert report.comparisons[0].candidate.failure.code == "training_failed"


async def test_without_time_for_turns_the_survey_is_what_was_measured():
    def too_late(specs, turns):
        return [Failure.of(FailureCode.TIME_BUDGET, "")] * len(specs)

    report, _ = await run(Machine(turned=too_late))
    assert (report.pairing, report.blocks, report.stopped_by) == ("trials", 1, "time_budget")
    assert report.comparisons[0].speedup_of_one_block == pytest.approx(2)
    assert "before the legs had taken turns" in report.pairing_reason


async def test_a_baseline_out_of_memory_in_the_survey_leaves_the_candidate_s_figures():
    def alone(spec):
        too_large = Failure.of(FailureCode.OUT_OF_MEMORY, "too large")
        return too_large if spec.precision == "fp32" else survey(spec)

    report, machine = await run(Machine(survey=alone))
    assert (report.verdict, report.stopped_by, machine.blocks) == ("invalid", "leg_failed", [])
    assert report.comparisons[0].candidate.median_step_seconds == pytest.approx(0.01)


async def test_blocks_of_an_earlier_attempt_are_reused_with_their_survey():
    kept = []
    whole, _ = await run(kept=kept)
    earlier = [KeptBlock(attempt=1, worker="w", block=block) for block in kept[:3]]
    report, machine = await run(earlier=earlier)
    assert machine.specs == []
    assert [specs[0].block for specs, _ in machine.blocks] == [2, 3]
    assert (report.blocks, report.reused_blocks, report.pairing) == (4, 2, "turns")
    assert report.comparisons[0].speedup == whole.comparisons[0].speedup
    assert report.baseline.survey == whole.baseline.survey


async def test_a_leg_that_is_many_times_slower_ends_early_with_the_interval_it_has():
    slow = {"fp32": 0.02, "bf16": 0.8}
    machine = Machine(
        survey=lambda spec: survey(spec, step_seconds=slow),
        turned=lambda specs, turns: turned(specs, turns, step_seconds=slow),
    )
    report, machine = await run(machine, asked(time_budget_seconds=90))
    (found,) = report.comparisons
    assert found.speedup.value == pytest.approx(0.02 / 0.8)
    assert (found.candidate.validation_loss, found.candidate.validation_accuracy) == (None, None)
    assert found.candidate.final_train_loss is None
    assert (found.loss_difference, found.accuracy_difference) == (None, None)
    assert "40 times as long" in found.candidate.ended_early_reason
    assert report.baseline.ended_early_reason is None
    assert report.baseline.validation_loss is not None
    assert found.verdict in {"fail", "inconclusive"}
    assert [len(legs.slices) for legs in machine.blocks[0][1].legs] == [6, 2]


async def test_with_time_enough_a_slow_leg_trains_as_much_as_the_others():
    slow = {"fp32": 0.02, "bf16": 0.8}
    machine = Machine(
        survey=lambda spec: survey(spec, step_seconds=slow),
        turned=lambda specs, turns: turned(specs, turns, step_seconds=slow),
    )
    report, machine = await run(machine, asked(time_budget_seconds=10_000))
    assert len({len(legs.slices) for legs in machine.blocks[0][1].legs}) == 1
    assert report.comparisons[0].loss_difference is not None


def test_a_plan_says_why_its_numbers_are_what_they_are():
    surveys = [survey(_spec("fp32")), survey(_spec("bf16"))]
    plan = planning.describe(plan_turns(surveys, 85, 5, math.inf), surveys)
    assert (plan.slice_steps, plan.rounds, plan.pick_up_steps) == (20, 4, 1)
    assert "15 ms" in plan.reason


def _spec(precision):
    measured = comparison(asked())
    leg = next(one for one in measured.legs if one.precision == precision)
    return spec_of(measured, leg, 0)


class Clock:
    """Time as the machine's work takes it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(comparison_run, "time", SimpleNamespace(monotonic=lambda: self.now))


@given(
    fp32=st.floats(min_value=0.001, max_value=5),
    bf16=st.floats(min_value=0.001, max_value=100),
    budget_seconds=st.floats(min_value=1, max_value=2000),
)
@pytest.mark.filterwarnings("ignore")
def test_no_comparison_in_turns_outlasts_its_budget(fp32, bf16, budget_seconds):
    seconds = {"fp32": fp32, "bf16": bf16}
    with pytest.MonkeyPatch.context() as patched:
        clock = Clock(patched)

        def alone(spec):
            steps = max(2, min(TRAINING["steps"], math.floor(spec.limit.share_seconds / seconds[spec.precision])))
            if steps * seconds[spec.precision] > spec.limit.max_seconds:
                clock.now += spec.limit.max_seconds
                return Failure.of(FailureCode.TIME_BUDGET, "")
            clock.now += steps * seconds[spec.precision]
            used = {
                "trial_seconds": steps * seconds[spec.precision],
                "training_time_seconds": steps * seconds[spec.precision],
            }
            return survey(spec, step_seconds=seconds, loss_curve=[1.0] * steps, ended_early=steps < 85, **used)

        def together(specs, turns):
            limit = specs[0].limit
            round_seconds = sum(
                legs.slices[0] * seconds[spec.precision] for spec, legs in zip(specs, turns.legs, strict=True)
            )
            warmup = sum(
                legs.warmup_steps * seconds[spec.precision] for spec, legs in zip(specs, turns.legs, strict=True)
            )
            rounds = max(2, min(turns.rounds, math.floor((limit.share_seconds - warmup) / round_seconds)))
            if warmup + rounds * round_seconds > limit.max_seconds:
                clock.now += limit.max_seconds
                return [Failure.of(FailureCode.TIME_BUDGET, "") for _ in specs]
            clock.now += warmup + rounds * round_seconds
            cut = tuple(replace(legs, slices=legs.slices[:rounds]) for legs in turns.legs)
            return turned(specs, replace(turns, legs=cut), step_seconds=seconds)

        machine = Machine(survey=alone, turned=together)
        try:
            anyio.run(run, machine, asked(time_budget_seconds=budget_seconds))
        except BenchmarkFailed as ended:
            assert ended.failure.code == "time_budget"
        assert clock.now - 1000 <= budget_seconds * (1 + 1e-9)


async def test_resumed_blocks_have_the_turns_of_those_before_the_interruption():
    """Also where a leg ends early: its few steps limit no later block."""
    slow = {"fp32": 0.02, "bf16": 0.8}

    def machine():
        return Machine(
            survey=lambda spec: survey(spec, step_seconds=slow),
            turned=lambda specs, turns: turned(specs, turns, step_seconds=slow),
        )

    kept = []
    whole, first = await run(machine(), asked(time_budget_seconds=90), kept=kept)
    for blocks in (3, 5):
        earlier = [KeptBlock(attempt=1, worker="w", block=block) for block in kept[:blocks]]
        report, second = await run(machine(), asked(time_budget_seconds=90), earlier=earlier)
        assert all(turns.legs == first.blocks[0][1].legs for _, turns in second.blocks)
        assert all(spec.max_steps is None for specs, _ in second.blocks for spec in specs)
        assert report.turns == whole.turns
        assert report.comparisons[0].candidate.ended_early_reason == whole.comparisons[0].candidate.ended_early_reason
        assert report.comparisons[0].candidate.final_train_loss is None


async def test_a_baseline_that_is_the_slow_leg_ends_early_and_is_not_validated():
    slow = {"fp32": 0.8, "bf16": 0.02}
    machine = Machine(
        survey=lambda spec: survey(spec, step_seconds=slow),
        turned=lambda specs, turns: turned(specs, turns, step_seconds=slow),
    )
    report, _ = await run(machine, asked(time_budget_seconds=90))
    assert report.comparisons[0].speedup.value == pytest.approx(40)
    assert report.baseline.ended_early_reason is not None
    assert report.baseline.validation_loss is None


async def test_a_candidate_that_fails_in_its_first_turns_leaves_the_baseline_s_figures():
    def failing(specs, turns):
        return [None, Failure.of(FailureCode.TRAINING_FAILED, "no kernel")]

    report, _ = await run(Machine(turned=failing))
    assert report.baseline.median_step_seconds == pytest.approx(0.02)
    assert report.comparisons[0].candidate.failure.code == "training_failed"


async def test_a_survey_cut_short_limits_the_whole_trials_after_a_fallback():
    def crowded(specs, turns):
        return [None, Failure.of(FailureCode.OUT_OF_MEMORY, "too little")]

    def short(spec):
        return survey(spec, loss_curve=[1.0] * 20, ended_early=True)

    _, machine = await run(Machine(survey=short, turned=crowded))
    assert {spec.max_steps for spec in machine.specs[2:]} == {20}


def test_one_time_costs_are_planned_for_in_every_block():
    compiled = [survey(_spec(leg), training_time_seconds=60.0 + 85 * 0.02) for leg in ("fp32", "bf16")]
    assert plan_turns(compiled, 85, 5).seconds > 120


def test_where_time_is_very_short_warm_up_is_too():
    surveys = [survey(_spec(leg), step_seconds=dict.fromkeys(SAME, 0.1)) for leg in SAME]
    assert {leg.warmup_steps for leg in plan_turns(surveys, 1000, 500, fits=20, least_fits=20).legs} == {2}


@given(st.lists(st.floats(min_value=0.01, max_value=3), min_size=1, max_size=30))
def test_every_round_is_judged_by_the_load_whatever_its_duration(seconds):
    slices = [busy_slice(began, one) for began, one in zip(range(0, 300, 10), seconds, strict=False)]
    loads = _loads([slices, slices], cores=2)
    assert len(loads) == len(slices)
    assert len({load is None for load in loads}) == 1
    assert (loads[0] is None) == (2 * sum(seconds) < 0.5)


def busy_slice(began, seconds):
    """A slice in which others keep one core busy."""
    return in_turns.slice_of(0, 5, began, began + seconds).model_copy(update={"foreign_cpu_seconds": seconds})


async def test_a_block_beside_another_process_on_the_gpu_is_run_again():
    looks = iter([["process 7"], []])

    def visited(specs, turns):
        processes = next(looks, [])
        with_gpu = telemetry(gpu_telemetry(foreign_processes=processes))
        return turned(specs, turns, telemetry=with_gpu)

    report, machine = await run(Machine(turned=visited))
    assert [specs[0].block for specs, _ in machine.blocks] == [0, 0, 1, 2, 3]
    assert report.attestation.ok


async def test_a_disturbed_block_is_better_than_none():
    looks = iter([["process 7"], None])

    def visited(specs, turns):
        processes = next(looks, [])
        if processes is None:
            return [Failure.of(FailureCode.TIME_BUDGET, "")] * len(specs)
        return turned(specs, turns, telemetry=telemetry(gpu_telemetry(foreign_processes=processes)))

    report, _ = await run(Machine(turned=visited))
    assert report.blocks == 4
    assert report.verdict == "invalid"
    assert "alone_on_device" in {check.name for check in report.attestation.checks if not check.ok}


async def test_the_blocks_that_an_interval_needs_share_the_time_equally():
    """Planted: the machine is much slower than in the survey, so the first block would take what the second needs."""
    _, machine = await run(benchmark_request=asked(time_budget_seconds=90))
    first, second = (specs[0].limit.share_seconds for specs, _ in machine.blocks[:2])
    assert first == pytest.approx(45, abs=1)
    assert second > 80
