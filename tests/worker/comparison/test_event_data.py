"""What is told of a comparison under way agrees with the report in the end."""

import pytest

from halftime.contract.report.failure import Failure, FailureCode
from tests.factories import comparison, request, trial
from worker.comparison import event_data
from worker.comparison.blocks import compare
from worker.report.build import make_report

pytestmark = pytest.mark.anyio


async def told_by(under_way, run_trial):
    told = []

    async def keep_block(block):
        told.append(event_data.after_block(under_way))

    await compare(under_way, run_trial, lambda progress: None, keep_block)
    return told


async def test_the_last_speedup_told_is_the_report_s():
    async def run_trial(spec, deadline_seconds, after_step):
        faster = spec.precision != "fp32"
        return trial(spec, step_seconds=(0.01 if faster else 0.02) * (1 + 0.01 * spec.block * faster))

    under_way = comparison(request())
    told = await told_by(under_way, run_trial)
    assert [one.block for one in told] == list(range(under_way.blocks))
    assert told[0].speedups == {"bf16": None}
    first = make_report("one", under_way).comparisons[0]
    assert told[-1].speedups == {"bf16": first.speedup}
    assert told[-1].planned_blocks == under_way.blocks


async def test_a_leg_that_failed_has_no_speedup():
    async def run_trial(spec, deadline_seconds, after_step):
        if spec.precision == "bf16" and spec.block == 1:
            return Failure.of(FailureCode.OUT_OF_MEMORY, "no room")
        return trial(spec)

    told = await told_by(comparison(request()), run_trial)
    assert [one.speedups for one in told] == [{"bf16": None}, {"bf16": None}]


@pytest.mark.parametrize(("count", "expected"), [(3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (101, [0, 25, 50, 75, 100])])
def test_a_curve_is_thinned_evenly_and_keeps_both_ends(count, expected):
    assert event_data.evenly(range(count), 5) == expected


async def test_legs_of_one_precision_are_told_apart():
    asked = request(candidates=["fp32", "bf16"], measurement={"min_blocks": 2, "max_blocks": 2, "control": True})
    under_way = comparison(asked)
    heard = []

    async def run_trial(spec, deadline_seconds, after_step):
        heard.append(spec.leg)
        return trial(spec)

    (*_, last) = await told_by(under_way, run_trial)
    assert heard[:4] == ["fp32", "fp32 again", "bf16", "fp32 control"]
    assert set(last.speedups) == {"fp32 again", "bf16"}
