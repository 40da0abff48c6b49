"""What a report warns of where legs take turns, or could not; trials are made up."""

import pytest

from halftime.contract.report.block import KeptBlock
from tests.factories import CPU, comparison, gpu_telemetry, numerics, request, telemetry
from tests.worker.comparison.in_turns import MIB, Machine, survey, turned, with_load
from worker.comparison import turns as planning
from worker.comparison.blocks import compare
from worker.report.build import make_report

pytestmark = pytest.mark.anyio

GPU = CPU.model_copy(update={"name": "cuda:0", "kind": "cuda", "gpu": "a GPU", "memory_bytes": 2**36})


def asked(training=None, device="cpu", data=None, **measurement):
    return request(
        device=device,
        candidates=["bf16"],
        training={"batch_size": 8, "steps": 85, "warmup_steps": 5} | (training or {}),
        measurement={"min_blocks": 4, "max_blocks": 4} | measurement,
        data=data or {"kind": "synthetic"},
    )


async def warnings(machine=None, benchmark_request=None, device=CPU, earlier=(), kept=None):
    """The warnings of a report, in one text."""
    machine = machine or Machine()

    async def keep(block):
        if kept is not None:
            kept.append(block)

    measured = await compare(
        comparison(benchmark_request or asked(), device),
        machine.run_trial,
        machine.progress.append,
        keep,
        earlier,
        machine.run_turns,
    )
    return " ".join(make_report("id", measured).warnings)


async def test_turns_that_were_fair_are_nothing_to_warn_of():
    assert await warnings() == ""


@pytest.mark.parametrize(
    "benchmark_request", [asked(pairing="trials"), asked(data={"kind": "synthetic", "loader": {}})], ids=str
)
async def test_whole_trials_that_the_request_asks_for_are_no_warning(benchmark_request):
    assert "whole trial" not in await warnings(benchmark_request=benchmark_request)


async def test_legs_that_do_not_fit_together_are_a_warning_with_the_reason(monkeypatch):
    monkeypatch.setattr(planning, "available_host_bytes", lambda: 199 * MIB)
    text = await warnings()
    assert "The legs were trained one whole trial after the other: the legs need 0.2 GiB together" in text
    assert "raise measurement.max_blocks" in text


async def test_pairs_that_are_left_out_are_counted_with_the_reason():
    text = await warnings(Machine(turned=lambda specs, turns: with_load(turned(specs, turns), 1)))
    assert "bf16: 4 of 16 pairs of slices were disturbed and left out; the first because other programs kept" in text
    assert "all of them count" not in text


async def test_blocks_in_which_disturbed_pairs_count_are_named():
    def load(specs, turns):
        return with_load(turned(specs, turns), 4 if specs[0].block == 1 else 0)

    text = await warnings(Machine(turned=load))
    assert "bf16: too few pairs of slices were undisturbed in 1 of 4 blocks (2), where all of them count" in text
    assert "left out" not in text
    assert "trials were disturbed" not in text


async def test_a_slow_leg_that_ended_early_is_one_warning_with_the_time_that_it_needs():
    slow = {"fp32": 0.02, "bf16": 0.8}
    machine = Machine(
        survey=lambda spec: survey(spec, step_seconds=slow, trial_seconds=1 + 85 * slow[spec.precision]),
        turned=lambda specs, turns: turned(specs, turns, step_seconds=slow),
    )
    text = await warnings(machine, asked(time_budget_seconds=90))
    assert text.count("40 times as long") == 1
    assert "trials ended after" not in text
    assert "warm-up had" not in text
    # One survey and four blocks of 85 steps of each leg, with the second that a trial takes besides.
    assert "set time_budget_seconds to about 358." in text


async def test_what_the_survey_could_not_examine_or_found_is_warned_of():
    found = {
        "not_examined": {"numerics": "no memory"},
        "numerics": numerics(gradient_relative_rmse=0.9),
        "unmoved_weight_share": 0.9,
    }
    text = await warnings(Machine(survey=lambda spec: survey(spec, **(found if spec.precision == "bf16" else {}))))
    assert "bf16: no comparison of a step with FP64: no memory." in text
    assert "bf16: the gradient of one step is off from FP64's by 90 %" in text


async def test_what_a_step_of_the_survey_waits_for_is_warned_of():
    seen = {"telemetry": telemetry(gpu_telemetry())}
    waiting = Machine(
        survey=lambda spec: survey(spec, synchronisations=["aten::item × 1"], **seen),
        turned=lambda specs, turns: turned(specs, turns, **seen),
    )
    assert "bf16: every step waits for the device (aten::item × 1)" in await warnings(
        waiting, asked(device="cuda"), GPU
    )
    late = Machine(
        survey=lambda spec: survey(spec, host_issue_seconds=0.0001, **seen),
        turned=lambda specs, turns: turned(specs, turns, host_issue_seconds=9.0, **seen),
    )
    assert "launch-bound" not in await warnings(late, asked(device="cuda"), GPU)  # a step in turns begins after a wait


async def test_an_odd_number_of_blocks_is_no_warning_because_drift_cancels_in_each():
    assert "odd number" not in await warnings(benchmark_request=asked(min_blocks=3, max_blocks=3))
    assert "odd number" in await warnings(benchmark_request=asked(min_blocks=3, max_blocks=3, pairing="trials"))


async def test_the_blocks_of_an_earlier_attempt_are_numbered_without_the_survey():
    kept = []
    await warnings(kept=kept)
    earlier = [KeptBlock(attempt=1, worker="w", block=block) for block in kept[:3]]
    assert "Blocks 1 to 2 were measured in attempt 1 by worker w" in await warnings(earlier=earlier)
