"""A comparison that goes on after the blocks of an earlier attempt; trials are simulated."""

import math
from datetime import UTC, datetime

import pytest

from app.reports.markdown import to_markdown
from halftime.contract.report.block import Block, KeptBlock
from halftime.contract.report.failure import Failure, FailureCode
from tests.factories import CPU, comparison, request, telemetry, trial
from worker.agent import fingerprint
from worker.agent.fingerprint import fingerprint_of
from worker.comparison.blocks import compare
from worker.device import nvml
from worker.report.build import make_report

pytestmark = pytest.mark.anyio

SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
#: What differs between two runs of the same.
BY_THE_CLOCK = {"total_seconds", "overhead_seconds"}


class Death(Exception):
    """Of the worker."""


def measurement(least, most=None, **more):
    return request(measurement={"min_blocks": least, "max_blocks": most or least, **more})


def simulated(spec):
    """Noise of 50 %, the same whenever the block is run."""
    wobble = math.exp(0.5 * (-1) ** spec.block) if spec.precision == "bf16" else 1
    examined = {} if spec.examined else {"numerics": None}
    return trial(spec, step_seconds=0.01 * wobble, training_started_at=SOME_TIME, **examined)


async def run(asked, simulate=simulated, earlier=(), dies_after=None):
    """The comparison, the blocks that it kept (as the next attempt finds them), its specs and its progress."""
    kept, specs, progress = [], [], []

    async def run_trial(spec, deadline_seconds, after_step):
        if len(kept) == dies_after:
            raise Death
        specs.append(spec)
        return simulate(spec)

    async def keep_block(block):
        read = Block.model_validate_json(block.model_dump_json())
        kept.append(KeptBlock(attempt=1, worker="node:cpu", block=read))

    measured = comparison(asked)
    try:
        await compare(measured, run_trial, progress.append, keep_block, earlier)
    except Death:
        assert dies_after is not None
    return measured, kept, specs, progress


async def test_it_goes_on_behind_the_last_block():
    _, kept, _, _ = await run(measurement(6), dies_after=4)
    measured, further, specs, _ = await run(measurement(6), earlier=kept)
    assert [spec.block for spec in specs] == [4, 4, 5, 5]
    assert [one.block.index for one in further] == [4, 5]
    assert measured.blocks == 6


@pytest.mark.parametrize("blocks", [2, 4, 16])
async def test_the_report_is_that_of_a_run_without_a_death(blocks):
    asked = measurement(4, 16, control=True)
    whole, all_blocks, _, _ = await run(asked)
    resumed, _, _, _ = await run(asked, earlier=all_blocks[:blocks])
    expected, found = make_report("id", whole), make_report("id", resumed)
    assert len(all_blocks) == 16
    warning, *warnings = found.warnings[-1:] + found.warnings[:-1]
    assert (warnings, found.reused_blocks) == (expected.warnings, blocks)
    assert f"Blocks 1 to {blocks} were measured in attempt 1 by worker node:cpu" in warning
    other = BY_THE_CLOCK | {"warnings", "reused_blocks"}
    assert found.model_dump(exclude=other) == expected.model_dump(exclude=other)


async def test_a_report_of_one_attempt_says_nothing_of_others():
    report = make_report("id", (await run(measurement(2)))[0])
    assert report.reused_blocks == 0
    assert not any("attempt" in warning for warning in report.warnings)
    assert "2 blocks, stopped" in to_markdown(report)


async def test_the_markdown_says_so():
    _, kept, _, _ = await run(measurement(4), dies_after=2)
    text = to_markdown(make_report("id", (await run(measurement(4), earlier=kept))[0]))
    assert "4 blocks, 2 of them reused from an earlier attempt" in text
    assert "- Blocks 1 to 2 were measured in attempt 1 by worker node:cpu" in text


async def test_blocks_of_two_attempts_are_told_apart():
    _, kept, _, _ = await run(measurement(6), dies_after=4)
    later = [one.model_copy(update={"attempt": 2}) for one in kept[2:]]
    report = make_report("id", (await run(measurement(6), earlier=kept[:2] + later))[0])
    told = [warning[:40] for warning in report.warnings if "attempt" in warning]
    assert told == ["Blocks 1 to 2 were measured in attempt 1", "Blocks 3 to 4 were measured in attempt 2"]


async def test_a_comparison_that_was_over_runs_nothing():
    whole, kept, _, _ = await run(measurement(2))
    measured, _, specs, _ = await run(measurement(2), earlier=kept)
    assert specs == []
    assert (measured.blocks, measured.stopped_by) == (2, whole.stopped_by)


async def test_a_leg_that_failed_stays_failed():
    def simulate(spec):
        if spec.precision == "bf16" and spec.block == 1:
            return Failure.of(FailureCode.OUT_OF_MEMORY, "too big")
        return simulated(spec)

    asked = request(candidates=["bf16", "fp16"], measurement={"min_blocks": 4, "max_blocks": 4})
    _, kept, _, _ = await run(asked, simulate, dies_after=2)
    measured, _, specs, _ = await run(asked, earlier=kept)
    assert {spec.precision for spec in specs} == {"fp32", "fp16"}
    assert measured.candidates[0].failure == Failure.of(FailureCode.OUT_OF_MEMORY, "too big")
    assert [len(leg.trials) for leg in measured.legs] == [4, 1, 4]


async def test_a_leg_is_examined_in_its_first_trial_alone():
    _, kept, _, _ = await run(measurement(4), dies_after=2)
    _, _, specs, _ = await run(measurement(4), earlier=kept)
    assert not any(spec.examined for spec in specs)


async def test_the_time_that_blocks_took_counts_towards_the_budget_and_the_total():
    _, kept, _, _ = await run(measurement(16), dies_after=2)
    slow = [one.model_copy(update={"block": one.block.model_copy(update={"seconds": 100.0})}) for one in kept]
    measured, _, specs, _ = await run(measurement(16, time_budget_seconds=250), earlier=slow)
    assert specs == []
    assert (measured.blocks, measured.stopped_by, measured.total_seconds) == (2, "time_budget", 200)


async def test_progress_and_what_is_left_count_all_blocks():
    _, kept, _, _ = await run(measurement(4), dies_after=2)
    slow = [one.model_copy(update={"block": one.block.model_copy(update={"seconds": 100.0})}) for one in kept]
    _, _, _, progress = await run(measurement(4, time_budget_seconds=10_000), earlier=slow)
    assert (progress[0].block, progress[0].fraction) == (3, 0.5)
    assert progress[0].eta_seconds == pytest.approx(200, abs=20)


async def test_trials_thrown_away_by_an_earlier_attempt_count():
    def disturbed(spec):
        return simulated(spec).model_copy(update={"telemetry": telemetry(foreign_cores=100.0)})

    asked = measurement(4)
    _, kept, first, _ = await run(asked, disturbed, dies_after=2)
    _, _, second, _ = await run(asked, disturbed, earlier=kept)
    whole, _, all_specs, _ = await run(asked, disturbed)
    assert sum(one.block.repeats for one in kept) == whole.repeats == 6
    assert len(first) + len(second) == len(all_specs)


async def test_trials_of_all_attempts_are_judged_beside_each_other():
    def slower(spec):
        return simulated(spec).model_copy(update={"ceiling_flops_per_second": 1e8})

    _, kept, _, _ = await run(measurement(8), dies_after=6)
    measured, _, _, _ = await run(measurement(8), slower, earlier=kept)
    assert [bool(one.disturbances) for one in measured.baseline.trials] == [False] * 6 + [True] * 2


def test_the_same_worker_measures_with_the_same():
    assert fingerprint_of(CPU, request()) == fingerprint_of(CPU, request())


def test_another_request_is_told_apart():
    assert fingerprint_of(CPU, measurement(2)) != fingerprint_of(CPU, measurement(4))


def test_another_card_of_the_same_model_is_told_apart(monkeypatch):
    gpu = CPU.model_copy(update={"name": "cuda:0", "kind": "cuda", "gpu": "NVIDIA H200"})
    found = []
    for uuid in ("GPU-1", "GPU-2"):
        monkeypatch.setattr(nvml, "uuid_of", lambda device, uuid=uuid: uuid)
        found.append(fingerprint_of(gpu, request()))
    assert [one.device for one in found] == ["GPU-1", "GPU-2"]


def test_another_start_of_the_host_is_told_apart(monkeypatch, tmp_path):
    before = fingerprint_of(CPU, request())
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(fingerprint, "BOOT_ID", tmp_path / "boot_id")
    assert fingerprint_of(CPU, request()) == before.model_copy(update={"device": "another cpu"})


def test_a_package_of_another_version_is_told_apart(monkeypatch):
    before = fingerprint_of(CPU, request())
    monkeypatch.setattr(fingerprint, "packages_sha256", fingerprint.packages_sha256.__wrapped__)
    monkeypatch.setattr(fingerprint, "distributions", lambda: [])
    assert fingerprint_of(CPU, request()).packages_sha256 != before.packages_sha256
