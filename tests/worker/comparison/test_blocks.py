"""Which leg runs next, when it is enough, and what the report makes of it; trials are simulated."""

import math

import pytest

from app.reports.text.wording import headline
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.comparison.leg_failures import BenchmarkFailed
from worker.report.build import make_report

pytestmark = pytest.mark.anyio


async def run(asked, simulate):
    """Runs a comparison whose trials `simulate(spec)` makes up; its report, and the specs in order."""
    specs, progress = [], []

    async def run_trial(spec, deadline_seconds, after_step):
        assert deadline_seconds > 0
        specs.append(spec)
        return simulate(spec)

    measured = await compare(comparison(asked), run_trial, progress.append)
    return make_report("id", measured), specs, progress


def blocks(least, most=None, **more):
    return request(measurement={"min_blocks": least, "max_blocks": most or least, **more})


async def test_blocks_are_counterbalanced_abba_baab():
    _, specs, _ = await run(blocks(4), trial)
    abba, baab = ["fp32", "bf16", "bf16", "fp32"], ["bf16", "fp32", "fp32", "bf16"]
    assert [spec.precision for spec in specs] == abba + baab


async def test_the_legs_of_a_block_share_a_seed_and_blocks_do_not():
    _, specs, _ = await run(blocks(3), trial)
    assert [spec.seed for spec in specs] == [0, 0, 1, 1, 2, 2]


async def test_every_derived_figure_follows_from_the_raw_samples():
    times = {"fp32": 0.02, "bf16": 0.01}

    def simulate(spec):
        drift = 1 + 0.01 * spec.block
        return trial(
            spec,
            step_seconds=times[spec.precision] * drift,
            peak_bytes=1000 if spec.precision == "fp32" else 550,
            loss=1.0 + 0.001 * spec.block + (0.01 if spec.precision == "bf16" else 0),
            accuracy=0.5,
        )

    report, _, _ = await run(blocks(4), simulate)
    (found,) = report.comparisons
    assert found.speedup.value == pytest.approx(2)
    assert found.memory_reduction_percent.value == pytest.approx(45)
    assert found.loss_difference.value == pytest.approx(0.01)
    assert found.loss_difference.signed_mean == pytest.approx(-0.01)
    assert found.accuracy_difference.value == 0
    assert [requirement.status for requirement in found.requirements] == ["pass", "pass", "pass", "off"]
    assert [requirement.met for requirement in found.requirements] == [True, True, True, None]
    assert report.verdict == found.verdict == "pass"
    assert report.baseline.samples_per_second == pytest.approx(8 / report.baseline.median_step_seconds)
    assert report.overhead_seconds == pytest.approx(
        report.total_seconds
        - sum(t.measured_wall_seconds for leg in (report.baseline, found.candidate) for t in leg.trials)
    )


async def test_a_report_survives_json():
    report, _, _ = await run(blocks(2), trial)
    assert Report.model_validate_json(report.model_dump_json()) == report


@pytest.mark.parametrize(
    ("noise", "expected_blocks", "stopped_by"),
    [(0.0, 2, "target_ci"), (0.5, 16, "max_blocks")],
)
async def test_the_pilot_s_noise_decides_the_number_of_blocks(noise, expected_blocks, stopped_by):
    def simulate(spec):
        wobble = math.exp(noise * (-1) ** spec.block) if spec.precision == "bf16" else 1
        return trial(spec, step_seconds=0.01 * wobble)

    report, _, _ = await run(blocks(2, 16), simulate)
    assert (report.blocks, report.stopped_by) == (expected_blocks, stopped_by)


async def test_progress_rises_to_one():
    _, _, progress = await run(blocks(2), trial)
    fractions = [seen.fraction for seen in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


async def test_a_candidate_out_of_memory_fails_and_the_baseline_keeps_its_numbers():
    def simulate(spec):
        if spec.precision == "bf16":
            return Failure.of(FailureCode.OUT_OF_MEMORY, "asked for 9 GiB, 1 GiB was free")
        return trial(spec)

    report, specs, _ = await run(blocks(4), simulate)
    assert (report.verdict, report.stopped_by) == ("fail", "leg_failed")
    assert report.comparisons[0].speedup is None
    assert report.comparisons[0].candidate.failure.code == "out_of_memory"
    assert report.baseline.median_step_seconds is not None
    assert len(specs) == 2


async def test_a_baseline_out_of_memory_makes_the_report_invalid_and_the_candidate_keeps_its_numbers():
    def simulate(spec):
        return Failure.of(FailureCode.OUT_OF_MEMORY, "too big") if spec.precision == "fp32" else trial(spec)

    report, _, _ = await run(blocks(2), simulate)
    assert report.verdict == "invalid"
    assert report.comparisons[0].candidate.median_step_seconds is not None
    assert "too big" in report.reasons[0]


async def test_out_of_memory_in_every_leg_fails_the_benchmark():
    with pytest.raises(BenchmarkFailed) as caught:
        await run(blocks(2), lambda spec: Failure.of(FailureCode.OUT_OF_MEMORY, "too big"))
    assert caught.value.failure.code == "out_of_memory"


def diverged(spec):
    return trial(spec, loss_curve=[1.0, None, None, None, None], validation_loss=None)


async def test_a_candidate_whose_loss_is_not_finite_fails_the_verdict():
    report, _, _ = await run(blocks(2), lambda spec: diverged(spec) if spec.precision == "bf16" else trial(spec))
    assert report.verdict == "fail"
    assert report.comparisons[0].candidate.failure.code == "nonfinite_loss"


async def test_a_baseline_whose_loss_is_not_finite_fails_the_benchmark():
    with pytest.raises(BenchmarkFailed) as caught:
        await run(blocks(2), lambda spec: diverged(spec) if spec.precision == "fp32" else trial(spec))
    assert caught.value.failure.code == "nonfinite_loss"


async def test_any_other_failure_ends_the_benchmark_at_once():
    with pytest.raises(BenchmarkFailed) as caught:
        await run(blocks(2), lambda spec: Failure.of(FailureCode.INTERNAL, "a fault of ours"))
    assert caught.value.failure.code == "internal"


async def test_an_a_a_run_says_so():
    report, _, _ = await run(request(candidates=["fp32"]), trial)
    assert any("A/A" in warning for warning in report.warnings)
    assert report.comparisons[0].speedup.value == 1


async def test_a_speedup_within_the_noise_is_called_indistinguishable():
    def noisy(spec):
        return trial(spec, step_seconds=0.01 if spec.position else 0.0105)

    report, _, _ = await run(blocks(6), noisy)
    assert report.comparisons[0].indistinguishable_from_noise
    assert "indistinguishable in speed" in headline(report)


async def test_a_clear_speedup_is_not_called_indistinguishable():
    def simulate(spec):
        return trial(spec, step_seconds=(0.02 if spec.precision == "fp32" else 0.01) * (1 + 0.01 * (spec.block % 2)))

    report, _, _ = await run(blocks(6), simulate)
    assert report.comparisons[0].indistinguishable_from_noise is False
    assert "2.00× faster" in headline(report)


async def test_a_control_leg_compares_like_with_like():
    report, specs, _ = await run(blocks(2, control=True), trial)
    assert [spec.precision for spec in specs] == ["fp32", "bf16", "fp32", "fp32", "bf16", "fp32"]
    assert report.noise_floor.control_ratio.value == 1
    assert report.noise_floor.same_seed_loss_spread == 0
    assert len(report.control.trials) == 2


async def test_fp16_that_keeps_overflowing_is_told_to_use_bf16():
    def simulate(spec):
        result = trial(spec)
        if spec.precision != "fp16":
            return result
        trace = result.grad_scaler.model_copy(update={"skipped_steps": [0, 2, 3, 4]})
        return result.model_copy(update={"grad_scaler": trace, "applied_steps": 1})

    report, _, _ = await run(request(candidates=["fp16"]), simulate)
    assert report.comparisons[0].candidate.grad_scaler.longest_skip_run == 3
    assert any("Use bf16" in warning for warning in report.warnings)


async def test_an_odd_number_of_blocks_is_noted():
    report, _, _ = await run(blocks(3), trial)
    assert any("odd number" in warning and "Use an even number" in warning for warning in report.warnings)


async def test_an_odd_number_of_blocks_for_lack_of_time_is_no_matter_of_the_number():
    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec)

    measured = await compare(comparison(blocks(3, 4)), run_trial, lambda progress: None)
    measured.stopped_by = "time_budget"
    (warning,) = [warning for warning in make_report("id", measured).warnings if "odd number" in warning]
    assert "Raise measurement.time_budget_seconds" in warning
    assert "Use an even number" not in warning


async def test_more_than_one_candidate_each_gets_its_comparison():
    report, _, _ = await run(request(candidates=["bf16", "fp16"]), trial)
    assert [found.candidate.precision for found in report.comparisons] == ["bf16", "fp16"]
    assert report.comparisons[1].candidate.grad_scaler.skipped_steps == 0
