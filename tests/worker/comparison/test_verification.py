"""Measured gains of advice, from trials that are made up."""

from pathlib import Path

import anyio
import pytest

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import GradScalerTrace
from halftime.contract.report.verification import MOST_VERIFIED, VERIFICATION_BLOCKS
from halftime.contract.resources.worker import WorkerDevice
from tests.factories import comparison, request
from tests.worker.comparison.in_turns import Machine, survey, turned
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import ComparisonRun
from worker.comparison.verification import ENDED_BY_AN_ERROR, NO_TIME, changed_precision, verify_advice

pytestmark = pytest.mark.anyio

TRAINING = {"batch_size": 8, "steps": 85, "warmup_steps": 5}
GPU = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=2**34)
HALF = ("bf16", "bf16-true")
FULL = Failure.of(FailureCode.OUT_OF_MEMORY, "a batch of 16 is too large")


def asked(training=None, **config):
    settings = {"training": TRAINING | (training or {}), "measurement": {"min_blocks": 2, "max_blocks": 2}}
    return request(**settings | {"explain": {"verify": True}} | config)


def advice(name="larger_batch", training=None, **config):
    """Advice to train with other settings."""
    changed = asked({"batch_size": 16} if training is None else training, **config)
    gain = Estimate(value=1.5, ci_low=1.2, ci_high=1.8)
    return Advice(name=name, text="", evidence="", estimated_gain=gain, request=changed.model_dump(mode="json"))


def factor_of(spec):
    """With a change, a step takes a quarter longer."""
    return 1.25 if " with " in spec.leg else 1.0


class Verifying(Machine):
    """A machine on which candidates with a change are trained too."""

    def __init__(self, alone=None, in_turns=None):
        super().__init__(
            trial=alone or (lambda spec: survey(spec, {"fp32": 0.02} | dict.fromkeys(HALF, 0.01 * factor_of(spec)))),
            turned=in_turns or turned_with_changes,
        )


def turned_with_changes(specs, turns, **changes):
    seconds = {"fp32": 0.02} | dict.fromkeys(HALF, 0.01)
    return turned(specs, turns, leg_factor=factor_of, step_seconds=seconds, **changes)


async def verified(pieces, machine=None, benchmark_request=None):
    """What is known of each piece afterwards, the machine, and what was seen of the progress."""
    machine, measured, progress = machine or Verifying(), comparison(benchmark_request or asked()), []
    await compare(measured, machine.run_trial, lambda seen: None, run_turns=machine.run_turns)
    machine.specs.clear()
    machine.blocks.clear()
    seconds = measured.total_seconds
    await verify_advice(measured, {"bf16": pieces}, machine.run_trial, machine.run_turns, progress.append)
    assert measured.total_seconds > seconds
    return measured.candidates[0].verified, machine, progress


async def test_the_gain_is_that_of_samples_per_second():
    """Twice as many samples in steps that take a quarter longer."""
    found, machine, _ = await verified([advice()])
    assert found["larger_batch"].gain.value == pytest.approx(1.6)
    assert found["larger_batch"].remark is None
    assert [(spec.leg, spec.phase) for spec in machine.specs] == [("bf16 with larger_batch", "verify")]
    assert [[spec.leg for spec in specs] for specs, _ in machine.blocks] == [
        ["bf16", "bf16 with larger_batch"]
    ] * VERIFICATION_BLOCKS
    assert [specs[0].seed for specs, _ in machine.blocks] == [0, 1, 2]
    assert {spec.training.batch_size for specs, _ in machine.blocks for spec in specs} == {8, 16}


async def test_only_samples_of_steps_that_change_the_weights_count():
    def skipping(specs, turns):
        made = turned_with_changes(specs, turns)
        skipped = list(range(45, 85))  # half of the measured steps
        trace = GradScalerTrace(
            initial_scale=1,
            final_scale=1,
            skipped_steps=skipped,
            scale_trace=[],
            unsettled_after_warmup=True,
            first_overflow=None,
        )
        return [made[0].model_copy(update={"grad_scaler": trace}), made[1]]

    found, _, _ = await verified([advice(training={})], Verifying(in_turns=skipping))
    assert found["larger_batch"].gain.value == pytest.approx(2 * 0.8)


async def test_the_first_three_that_change_something_are_measured():
    stop = advice("stop_here").model_copy(update={"request": None})
    names = ["compile", "larger_batch", "channels_last", "fused_optimizer"]
    found, _, progress = await verified([stop, *(advice(name) for name in names)])
    assert list(found) == names[:MOST_VERIFIED]
    fractions = [seen.fraction for seen in progress]
    assert fractions == sorted(fractions)
    assert 0.8 <= fractions[0] < fractions[-1] < 1
    assert {seen.phase for seen in progress} == {"verify"}


async def test_trials_of_one_piece_of_advice_share_what_was_compiled():
    def sharing(specs, turns):
        if " with " in specs[1].leg:
            assert Path(specs[1].compile_cache).is_dir()
        return turned_with_changes(specs, turns)

    _, machine, _ = await verified([advice(), advice("compile", {})], Verifying(in_turns=sharing))
    of_pieces = [
        {spec.compile_cache for specs, _ in machine.blocks for spec in specs if specs[1].leg == f"bf16 with {name}"}
        for name in ("larger_batch", "compile")
    ]
    (first,), (second,) = of_pieces
    assert [spec.compile_cache for spec in machine.specs] == [first, second]
    assert first != second
    assert not Path(first).exists()


async def test_trials_are_short():
    """80 measured steps of 10 ms, not 9,000."""
    _, machine, _ = await verified([advice(training={"steps": 9005})], benchmark_request=asked({"steps": 9005}))
    assert {spec.training.steps for specs, _ in machine.blocks for spec in specs} == {305}
    assert {spec.training.validation_samples for spec in machine.specs} == {1}


async def test_a_leg_that_cannot_be_trained_says_why_and_the_next_is_measured():
    def failing(spec):
        return FULL if spec.leg == "bf16 with larger_batch" else survey(spec)

    found, _, _ = await verified([advice(), advice("compile", {})], Verifying(alone=failing))
    assert found["larger_batch"].gain is None
    assert found["larger_batch"].remark == "Not measured: out of memory. a batch of 16 is too large"
    assert found["compile"].gain is not None


async def test_a_failure_in_a_block_says_why():
    def failing(specs, turns):
        if " with " not in specs[1].leg:
            return turned(specs, turns)
        return [None, Failure.of(FailureCode.TRAINING_FAILED, "no kernel")]

    found, _, _ = await verified([advice()], Verifying(in_turns=failing))
    assert (found["larger_batch"].gain, "no kernel" in found["larger_batch"].remark) == (None, True)


async def test_legs_that_cannot_share_the_device_are_trained_one_after_the_other():
    def crowded(specs, turns):
        return [None, FULL] if " with " in specs[1].leg else turned(specs, turns)

    found, machine, _ = await verified([advice()], Verifying(in_turns=crowded))
    assert found["larger_batch"].gain.value == pytest.approx(1.6)
    as_it_is, changed = "bf16", "bf16 with larger_batch"
    blocks = [[as_it_is, changed], [changed, as_it_is], [changed, as_it_is]]
    assert [spec.leg for spec in machine.specs] == [changed, *(leg for block in blocks for leg in block)]


async def test_blocks_in_turns_and_whole_trials_are_not_in_one_interval():
    """In turns the change seems to cost nothing; what is measured afterwards is all that counts."""
    blocks = 0

    def crowded(specs, turns):
        nonlocal blocks
        if " with " not in specs[1].leg:
            return turned(specs, turns)
        blocks += 1
        return turned(specs, turns) if blocks == 1 else [None, FULL]

    found, machine, _ = await verified([advice()], Verifying(in_turns=crowded))
    gain = found["larger_batch"].gain
    assert (gain.value, gain.ci_low, gain.ci_high) == pytest.approx((1.6, 1.6, 1.6))
    assert len(machine.specs) == 1 + 2 * VERIFICATION_BLOCKS


async def test_with_a_loader_whole_trials_are_run():
    loader = {"data": {"kind": "synthetic", "loader": {}}}
    found, machine, _ = await verified([advice(**loader)], benchmark_request=asked(**loader))
    assert machine.blocks == []
    assert found["larger_batch"].gain.value == pytest.approx(1.6)


async def test_without_time_nothing_is_measured_and_it_says_so():
    machine, measured = Verifying(), comparison(asked())
    await compare(measured, machine.run_trial, lambda seen: None, run_turns=machine.run_turns)
    measured.total_seconds = measured.request.config.timeout_seconds
    machine.specs.clear()
    await verify_advice(measured, {"bf16": [advice()]}, machine.run_trial, machine.run_turns, lambda seen: None)
    assert measured.candidates[0].verified == {"larger_batch": NO_TIME}
    assert machine.specs == []


async def test_a_trial_that_does_not_end_is_given_up_when_the_time_is_over():
    hanging = asked(measurement={"min_blocks": 2, "max_blocks": 2, "time_budget_seconds": 1.0})
    machine, measured = Verifying(), comparison(hanging)
    await compare(measured, machine.run_trial, lambda seen: None, run_turns=machine.run_turns)

    async def hangs(spec, deadline_seconds, after_step):
        await anyio.sleep_forever()

    await verify_advice(measured, {"bf16": [advice()]}, hangs, machine.run_turns, lambda seen: None)
    assert measured.candidates[0].verified == {"larger_batch": NO_TIME}


async def test_an_interval_needs_two_blocks():
    blocks = 0

    def once(specs, turns):
        nonlocal blocks
        if " with " not in specs[1].leg:
            return turned(specs, turns)
        blocks += 1
        return turned_with_changes(specs, turns) if blocks == 1 else [Failure.of(FailureCode.TIME_BUDGET, "")] * 2

    found, _, _ = await verified([advice()], Verifying(in_turns=once))
    assert found["larger_batch"].gain is None
    assert "once" in found["larger_batch"].remark
    assert "1.60" in found["larger_batch"].remark


async def test_an_error_of_ours_takes_nothing_from_what_was_measured_and_says_so_of_the_rest():
    machine, measured = Verifying(), comparison(asked())
    await compare(measured, machine.run_trial, lambda seen: None, run_turns=machine.run_turns)

    async def breaks(spec, deadline_seconds, after_step):
        if "compile" in spec.leg:
            raise RuntimeError("a fault of ours")
        return await machine.run_trial(spec, deadline_seconds, after_step)

    pieces = [advice(), advice("compile", {}), advice("channels_last", {})]
    with pytest.raises(RuntimeError):
        await verify_advice(measured, {"bf16": pieces}, breaks, machine.run_turns, lambda seen: None)
    found = measured.candidates[0].verified
    assert found["larger_batch"].gain is not None
    assert found["compile"] == found["channels_last"] == ENDED_BY_AN_ERROR


async def test_another_precision_is_compared_with_the_candidate_not_with_the_baseline():
    found, machine, _ = await verified([advice("tf32_first", {}, candidates=["bf16", "bf16-true"])])
    assert found["tf32_first"].gain.value == pytest.approx(0.8)
    assert {tuple(spec.precision for spec in specs) for specs, _ in machine.blocks} == {("bf16", "bf16-true")}


@pytest.mark.parametrize(
    ("before", "after", "precision"),
    [(["bf16"], ["bf16"], "bf16"), (["fp16"], ["bf16"], "bf16"), (["fp16"], ["fp16", "tf32"], "tf32")],
    ids=["another setting", "a precision in place of the candidate's", "one more"],
)
def test_a_changed_precision_is_the_one_that_the_request_adds(before, after, precision):
    run = ComparisonRun.of(asked(device="cuda", candidates=before), GPU)
    assert changed_precision(run, run.candidates[0], asked(device="cuda", candidates=after)) == precision
