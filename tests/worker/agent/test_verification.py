"""Measured gains of advice, from real training on the CPU."""

import pytest

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from tests.factories import comparison, request
from tests.worker.agent.test_launcher import launcher, trial_processes
from worker.comparison.blocks import compare
from worker.comparison.verification import NO_TIME, verify_advice
from worker.explain.advice.requests import changed

pytestmark = pytest.mark.anyio

__all__ = ["launcher"]

MEASUREMENT = {"min_blocks": 2, "max_blocks": 2, "pairing": "trials"}


def advice(name, of_request, **changes):
    gain = Estimate(value=1.5, ci_low=1.0, ci_high=2.0)
    return Advice(name=name, text="", evidence="", estimated_gain=gain, request=changed(of_request, **changes))


async def verified(launcher, pieces_of, used_seconds=0, **config):
    """What is known of each piece of advice, and which trials were run for it, after one block of whole trials."""
    asked = request(training={"batch_size": 8, "steps": 22, "warmup_steps": 2}, **config)
    measured, specs = comparison(asked), []

    async def run_trial(spec, deadline_seconds, after_step):
        specs.append(spec)
        return (await launcher.run(spec, deadline_seconds, after_step))[0]

    async def run_turns(of_block, turns, deadline_seconds, after_step):
        specs.extend(of_block)
        return [outcome for outcome, _ in await launcher.run_in_turns(of_block, turns, deadline_seconds, after_step)]

    await compare(measured, run_trial, lambda progress: None)
    specs.clear()
    measured.total_seconds += used_seconds
    await verify_advice(measured, {"bf16": pieces_of(asked)}, run_trial, run_turns, lambda progress: None)
    assert trial_processes() == []
    return measured.candidates[0].verified, specs


async def test_a_change_is_measured_in_turns_and_one_that_fails_says_why(launcher):
    def pieces(asked):
        return [
            advice("larger_batch", asked, config__training__batch_size=16),
            advice("padded_dimensions", asked, model={"kind": "plugin", "name": "missing"}),
        ]

    found, specs = await verified(launcher, pieces)
    gain = found["larger_batch"].gain
    assert 0 < gain.ci_low < gain.value < gain.ci_high, found
    of_first = [spec for spec in specs if "padded" not in spec.leg]
    assert [spec.leg for spec in of_first] == ["bf16 with larger_batch", *["bf16", "bf16 with larger_batch"] * 3]
    assert found["padded_dimensions"].gain is None
    assert "missing" in found["padded_dimensions"].remark


async def test_where_turns_are_not_wanted_whole_trials_alternate(launcher):
    def pieces(asked):
        return [advice("larger_batch", asked, config__training__batch_size=16)]

    found, specs = await verified(launcher, pieces, measurement=MEASUREMENT)
    assert found["larger_batch"].gain is not None
    assert [spec.position for spec in specs] == [0, *[0, 1] * 3]


async def test_with_no_time_left_nothing_is_started(launcher):
    def pieces(asked):
        return [advice("larger_batch", asked, config__training__batch_size=16)]

    found, specs = await verified(launcher, pieces, used_seconds=3600)
    assert (found, specs) == ({"larger_batch": NO_TIME}, [])
