"""The time budget holds from the first second: no trial, and no repetition of one, starts or goes on beyond it."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.reports.text.wording import headline
from halftime.contract.models import MlpSpec
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import PrecisionSupport
from halftime.plugin import Vectors
from tests.factories import CPU, comparison, request, telemetry, trial
from worker.agent.launcher import TrialLauncher, within_time_limit
from worker.comparison import comparison_run
from worker.comparison.blocks import compare
from worker.comparison.leg_failures import BenchmarkFailed
from worker.comparison.time_budget import time_limit
from worker.messages import TimeLimit, TrialSpec
from worker.report.build import make_report
from worker.tasks.cross_entropy import CrossEntropy
from worker.training import pace as pacing
from worker.training.loop import validate
from worker.training.pace import Pace
from worker.trial.run import run_trial

STEPS = 40

EMULATED = CPU.model_copy(
    update={
        "precisions": [
            PrecisionSupport(precision="fp32", kernels="native", flops_per_second=2e11, remedy=None),
            PrecisionSupport(precision="bf16", kernels="emulated", flops_per_second=4e9, remedy="Use fp32 here."),
        ]
    }
)


class Machine:
    """A clock, and trials that take as long as the steps of their leg do."""

    def __init__(self, monkeypatch, budget_seconds, **step_seconds):
        self.now = 1000.0
        self.step_seconds = step_seconds
        self.asked = request(
            training={"batch_size": 8, "steps": STEPS, "warmup_steps": 2},
            measurement={"min_blocks": 6, "max_blocks": 6, "time_budget_seconds": budget_seconds},
        )
        self.specs, self.progress = [], []
        self.disturbed = set()
        monkeypatch.setattr(comparison_run, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def run_trial(self, spec, deadline_seconds, after_step):
        self.specs.append(spec)
        step_seconds, limit = self.step_seconds[spec.precision], spec.limit
        steps = min(spec.max_steps or STEPS, max(2, math.floor(limit.share_seconds / step_seconds)))
        if steps * step_seconds > limit.max_seconds:
            self.now += limit.max_seconds
            after_step(math.floor(limit.max_seconds / step_seconds))
            return Failure.of(FailureCode.TIME_BUDGET, "")
        self.now += steps * step_seconds
        return trial(
            spec,
            step_seconds=step_seconds * (1 + 0.01 * (spec.block % 2)),
            trial_seconds=steps * step_seconds,
            training_time_seconds=steps * step_seconds,
            loss_curve=[1.0] * steps,
            ended_early=steps < STEPS,
            telemetry=telemetry(foreign_cores=8.0 if spec.name in self.disturbed else 0.0),
        )

    async def report(self, device=EMULATED):
        under_way = comparison(self.asked, device)
        return make_report("id", await compare(under_way, self.run_trial, self.progress.append))


@pytest.mark.anyio
async def test_where_there_is_time_every_trial_trains_to_its_end(monkeypatch):
    machine = Machine(monkeypatch, 600, fp32=0.1, bf16=0.05)
    report = await machine.report()
    assert report.blocks == 6
    assert not any(one.ended_early for leg in (report.baseline, report.comparisons[0].candidate) for one in leg.trials)


@pytest.mark.anyio
async def test_a_slow_candidate_gets_two_blocks_and_an_interval(monkeypatch):
    machine = Machine(monkeypatch, 100, fp32=0.2, bf16=7.3)
    report = await machine.report()
    (found,) = report.comparisons
    assert machine.now <= 1000 + 100
    assert (report.blocks, report.stopped_by) == (2, "time_budget")
    assert found.speedup.ci_high < 0.1
    assert found.candidate.shortened_trials == 2
    assert found.accuracy_difference is None, "only in the second block did the legs train for as many steps"
    assert report.verdict == "fail"
    assert "a CPU has no BF16 arithmetic and emulates it: BF16 is 36.50× slower" in headline(report)
    assert headline(report).endswith("Train in FP32 on this device, or in BF16 on a device with native support.")
    assert any(warning.startswith("bf16 is emulated. Use fp32 here.") for warning in report.warnings)
    assert any("of 40 steps, for lack of time" in warning for warning in report.warnings)
    assert any("set time_budget_seconds to about" in warning for warning in report.warnings)


@pytest.mark.anyio
async def test_after_a_trial_that_ended_early_the_others_train_for_as_many_steps(monkeypatch):
    machine = Machine(monkeypatch, 100, fp32=0.2, bf16=7.3)
    report = await machine.report()
    baseline, candidate = report.baseline.trials, report.comparisons[0].candidate.trials
    assert [len(one.loss_curve) for one in candidate] == [len(candidate[0].loss_curve)] * 2
    assert [len(one.loss_curve) for one in baseline] == [STEPS, len(candidate[0].loss_curve)]


@pytest.mark.anyio
async def test_a_candidate_without_a_step_in_time_leaves_a_report_that_says_so(monkeypatch):
    machine = Machine(monkeypatch, 12, fp32=0.1, bf16=60.0)
    report = await machine.report()
    (found,) = report.comparisons
    assert machine.now <= 1000 + 12
    assert (report.verdict, report.stopped_by) == ("inconclusive", "time_budget")
    assert found.candidate.failure.code == "time_budget"
    assert "ended after 0 of 40 steps" in found.candidate.failure.detail
    assert "a step of fp32 takes 0.1 s. Use fp32 here." in found.candidate.failure.detail
    assert report.baseline.median_step_seconds == pytest.approx(0.1)
    assert "could not be compared" in headline(report)
    assert not any("full-length trials" in warning for warning in report.warnings), (
        "how long the candidate's take is not known"
    )


@pytest.mark.anyio
async def test_one_block_gives_a_ratio_without_an_interval(monkeypatch):
    machine = Machine(monkeypatch, 20, fp32=0.1, bf16=6.0)
    report = await machine.report()
    (found,) = report.comparisons
    assert machine.now <= 1000 + 20
    assert (found.speedup, found.speedup_of_one_block) == (None, pytest.approx(0.1 / 6))
    assert report.verdict == "inconclusive"
    assert "60.00× slower than FP32 on a CPU in the only block that measured both" in headline(report)


@pytest.mark.anyio
async def test_a_baseline_without_a_step_in_time_fails_the_benchmark(monkeypatch):
    machine = Machine(monkeypatch, 20, fp32=60.0, bf16=60.0)
    with pytest.raises(BenchmarkFailed) as caught:
        await machine.report()
    assert caught.value.failure.code == "time_budget"
    assert "Raise measurement.time_budget_seconds" in caught.value.failure.detail


@pytest.mark.anyio
async def test_a_disturbed_trial_is_repeated_only_if_the_repetition_fits(monkeypatch):
    async def repeats(budget_seconds):
        machine = Machine(monkeypatch, budget_seconds, fp32=0.1, bf16=0.1)
        machine.disturbed = {"trial of fp32 in block 1"}
        return (await machine.report()).baseline.repeated_trials

    assert await repeats(600) == 2
    assert await repeats(17) == 0


@pytest.mark.anyio
async def test_a_third_block_begins_only_if_one_like_the_last_fits(monkeypatch):
    machine = Machine(monkeypatch, 23, fp32=0.1, bf16=0.1)
    report = await machine.report()
    assert (report.blocks, report.stopped_by) == (2, "time_budget")
    assert any("ended after 2 of at least 6 blocks" in warning for warning in report.warnings)


@pytest.mark.anyio
async def test_the_time_left_that_progress_tells_is_never_more_than_the_budget_has(monkeypatch):
    machine = Machine(monkeypatch, 30, fp32=0.1, bf16=5.0)
    await machine.report()
    told = [progress.eta_seconds for progress in machine.progress if progress.eta_seconds is not None]
    assert told
    assert max(told) <= 30


@pytest.mark.anyio
@given(fp32=st.floats(0.001, 100), bf16=st.floats(0.001, 100), budget_seconds=st.floats(0.1, 1000))
async def test_no_comparison_outlasts_its_budget(fp32, bf16, budget_seconds):
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = Machine(monkeypatch, budget_seconds, fp32=fp32, bf16=bf16)
        try:
            report = await machine.report()
        except BenchmarkFailed as ended:
            assert ended.failure.code == "time_budget"
        else:
            assert report.baseline.trials
    assert machine.now - 1000 <= budget_seconds * (1 + 1e-9)


@given(
    left_seconds=st.floats(0.1, 1e4),
    others=st.lists(st.none() | st.floats(0.1, 1e4), max_size=4),
    later=st.lists(st.none() | st.floats(0.1, 1e4), max_size=5),
)
def test_a_share_is_positive_and_never_more_than_what_is_left(left_seconds, others, later):
    limit = time_limit(left_seconds, others, later)
    assert 0 < limit.share_seconds <= limit.max_seconds <= left_seconds


def test_the_first_of_four_trials_has_a_quarter_and_may_take_half():
    assert time_limit(100, [None], [None, None]) == TimeLimit(share_seconds=25, max_seconds=50)


def test_a_trial_that_ran_before_is_expected_to_take_as_long_again():
    assert time_limit(88, [], [None, 12]) == TimeLimit(share_seconds=38, max_seconds=88)


class Clock:
    """The performance counter, as a test sets it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(pacing, "time", SimpleNamespace(perf_counter=lambda: self.now))


def steps_of(monkeypatch, step_seconds, share_seconds, first_seconds=None, validation_steps=0.0):
    """Warm-up steps, and all steps, of a trial with this share."""
    clock = Clock(monkeypatch)
    limit = TimeLimit(share_seconds=share_seconds, max_seconds=1e9)
    pace = Pace(TrainingConfig(batch_size=8, steps=STEPS, warmup_steps=5), limit, None, 0.0)
    pace.keep(validation_steps)
    pace.start()
    warmup = None
    for step in range(STEPS):
        if warmup is None and pace.is_warm():
            warmup = step
        clock.now += first_seconds if first_seconds and step == 0 else step_seconds
        pace.count(step + 1)
        if warmup is not None and pace.is_over():
            break
    return warmup, step + 1


def test_with_time_enough_warm_up_and_training_are_as_asked(monkeypatch):
    assert steps_of(monkeypatch, 0.1, 100) == (5, STEPS)


def test_training_ends_in_time_for_what_is_examined_after_it(monkeypatch):
    warmup, steps = steps_of(monkeypatch, 1.0, 20)
    assert (warmup, steps) == (5, 16)


def test_warm_up_takes_no_more_than_half_of_the_time(monkeypatch):
    assert steps_of(monkeypatch, 1.0, 10) == (3, 6)


def test_a_trial_has_one_warm_up_step_and_one_measured_step_at_least(monkeypatch):
    assert steps_of(monkeypatch, 10.0, 1) == (1, 2)


def test_a_first_step_that_compiles_is_not_taken_for_what_a_step_takes(monkeypatch):
    assert steps_of(monkeypatch, 0.1, 150, first_seconds=20) == (5, STEPS)
    assert steps_of(monkeypatch, 0.1, 150, first_seconds=43) == (1, STEPS)


def test_training_leaves_time_for_validation_too_but_no_more_than_a_quarter(monkeypatch):
    assert steps_of(monkeypatch, 1.0, 40, validation_steps=5.0) == (5, 31)
    assert steps_of(monkeypatch, 1.0, 40, validation_steps=85.0) == (5, 26)


def spec_of(**changes):
    training = TrainingConfig(batch_size=64, steps=10_000, warmup_steps=5)
    return TrialSpec(
        device="cpu", precision="fp32", block=0, position=0, model=MlpSpec(hidden_size=64), training=training, **changes
    )


def test_a_trial_whose_share_is_over_keeps_what_it_has_and_says_what_is_missing():
    result = run_trial(spec_of(limit=TimeLimit(share_seconds=1e-3, max_seconds=1e9), examined=True), lambda step: None)
    assert result.ended_early
    assert (len(result.loss_curve), len(result.step_seconds)) == (2, 1)
    assert result.memory is result.numerics is None
    assert result.not_examined["memory"].startswith("for lack of time")
    assert result.attestation.forward_dtypes == {"Linear": ["float32"]}


def test_a_trial_of_fewer_steps_ends_where_it_is_told_to():
    result = run_trial(spec_of(max_steps=7), lambda step: None)
    assert (len(result.loss_curve), len(result.step_seconds), result.ended_early) == (7, 2, True)
    assert result.memory is not None


@pytest.mark.anyio
async def test_a_trial_that_goes_on_beyond_its_limit_is_ended():
    launcher = TrialLauncher()
    try:
        limit = TimeLimit(share_seconds=1e9, max_seconds=2.0)
        outcome, _ = await launcher.run(spec_of(limit=limit), 3600, lambda step: None)
    finally:
        await launcher.close()
    assert outcome.code == "time_budget"


@pytest.mark.anyio
async def test_a_repetition_that_ends_early_does_not_replace_a_whole_trial():
    runs = []

    async def run_trial(spec, deadline_seconds, after_step):
        runs.append(spec.name)
        made = trial(spec, telemetry=telemetry(foreign_cores=8.0 if spec.block else 0.0))
        early = made.model_copy(update={"ended_early": True, "loss_curve": made.loss_curve[:3]})
        return early if runs.count(spec.name) > 1 else made

    report = make_report("id", await compare(comparison(), run_trial, lambda progress: None))
    assert len(runs) > 4, "disturbed trials were run again"
    assert report.baseline.shortened_trials == report.comparisons[0].candidate.shortened_trials == 0


def test_validation_ends_where_the_time_does_and_says_how_much_it_saw():
    model, batches = torch.nn.Linear(4, 3), [(torch.randn(2, 4), torch.tensor([0, 1]))] * 4
    left = iter([2.0, 1.0, 0.0])
    task = CrossEntropy(Vectors(4, 3))
    shortened = validate(model, task, batches, lambda: next(left))
    assert shortened.share == 0.75
    assert shortened.counts == {"loss": 6, "accuracy": 6}
    whole = validate(model, task, batches)
    assert whole.share == 1.0
    assert whole.values == pytest.approx(shortened.values)


def test_what_waiting_has_used_is_no_longer_the_trial_s():
    task = spec_of(limit=TimeLimit(share_seconds=80, max_seconds=90))
    assert within_time_limit(task, 40).limit == TimeLimit(share_seconds=30, max_seconds=40)
    assert within_time_limit(spec_of(), 40).limit is None


@pytest.mark.anyio
async def test_a_few_steps_whose_scale_still_comes_down_are_no_broken_training():
    async def simulate(spec, deadline_seconds, after_step):
        made = trial(spec, ended_early=True, loss_curve=[1.0, 1.0])
        if spec.precision != "fp16":
            return made
        skipped = made.grad_scaler.model_copy(update={"skipped_steps": [0, 1]})
        return made.model_copy(update={"grad_scaler": skipped, "applied_steps": 0})

    measured = await compare(comparison(request(candidates=["fp16"])), simulate, lambda progress: None)
    assert measured.candidates[0].failure is None


@pytest.mark.anyio
async def test_blocks_of_an_earlier_attempt_leave_the_fewest_steps_that_any_trial_did():
    lengths = iter([4, 3, 3, 3])

    async def simulate(spec, deadline_seconds, after_step):
        return trial(spec, ended_early=True, loss_curve=[1.0] * next(lengths))

    measured = await compare(comparison(), simulate, lambda progress: None)
    assert measured.max_steps == 3
