"""One benchmark from claim to outcome, on a real database; the trials are simulated."""

import gzip
import threading
from datetime import timedelta

import anyio
import pytest
from sqlalchemy.exc import DataError, OperationalError

from app.settings import Settings
from app.store import benchmarks, blocks, claims, events
from app.store.claims import ClaimLost
from halftime.contract.event_data import BlockFinished
from halftime.contract.events import KnownEvent
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from tests.app.store.test_reaper import read, submit, take
from tests.factories import CPU, comparison, request, trial, well
from tests.worker.comparison.in_turns import survey, turned
from worker.agent import job as worker_job
from worker.agent.fingerprint import fingerprint_of
from worker.agent.job import Job
from worker.comparison.blocks import compare
from worker.explain.advice.requests import changed

pytestmark = pytest.mark.anyio

FOUR_BLOCKS = request(measurement={"min_blocks": 4, "max_blocks": 4, "time_budget_seconds": 100_000})


class Death(Exception):
    """Of the worker."""


class SimulatedTrials:
    """In place of the launcher: from one block on, no trial ends."""

    def __init__(self, hangs_in_block=None):
        self.hangs_in_block = hangs_in_block
        self.hangs = anyio.Event()
        self.blocks = []

    async def run(self, spec, deadline_seconds, after_step, keep_trace):
        if spec.block == self.hangs_in_block:
            self.hangs.set()
            await anyio.sleep_forever()
        self.blocks.append(spec.block)
        return trial(spec), ""


async def events_as_written(database, row):
    """What a job and the store wrote, each of it of a known kind and without a field that its kind lacks."""
    async with database.sessions() as session:
        written = [event.parsed() for event in await events.list_after(session, row.id, 0, 100)]
    assert [event.kind for event in written if not isinstance(event, KnownEvent) or event.data.model_extra] == []
    return written


async def report_of(database, row):
    async with database.sessions() as session:
        return Report.model_validate_json(gzip.decompress(await benchmarks.report_gzip(session, row.id)))


def job_of(database, row, trials, examine=well):
    return Job(database.sessions, trials, "node:cpu", CPU, row.queue_entry_id, Settings(), examine)


async def sick():
    """What a check of a lost GPU finds."""
    return "The driver cannot reach the GPU."


async def test_a_benchmark_stopped_in_mid_run_goes_on_after_its_completed_blocks(database):
    row = await submit(database, FOUR_BLOCKS)
    trials = SimulatedTrials(hangs_in_block=2)
    job = job_of(database, row, trials)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run, row.id)
        await trials.hangs.wait()
        job.stop()
    again = await read(database, row)
    assert (again.status, trials.blocks) == ("queued", [0, 0, 1, 1])

    trials = SimulatedTrials()
    await job_of(database, again, trials).run(row.id)
    assert trials.blocks == [2, 2, 3, 3]
    kinds = [event.kind for event in await events_as_written(database, row)]
    trials_of_two_blocks = ["trial_finished", "trial_finished", "block_finished"] * 2
    first, second = ["started", *trials_of_two_blocks], ["started", "blocks_reused", *trials_of_two_blocks]
    assert kinds == ["queued", *first, "handed_back", *second, "succeeded"]
    report = await report_of(database, row)
    assert (report.blocks, report.reused_blocks) == (4, 2)


async def test_the_timeout_counts_what_reused_blocks_took(database):
    asked = FOUR_BLOCKS
    row = await submit(database, asked)
    claim = await take(database, row)

    async def keep_slow_block(block):
        slow = block.model_copy(update={"seconds": 1800.0})
        async with database.sessions.begin() as session:
            await blocks.keep(
                session,
                claim,
                fingerprint_of(CPU, asked),
                slow,
                BlockFinished(block=block.index, planned_blocks=4, speedups={}),
            )

    async def run_trial(spec, deadline_seconds, after_step):
        if spec.block == 2:
            raise Death
        return trial(spec)

    with pytest.raises(Death):
        await compare(comparison(asked), run_trial, lambda progress: None, keep_slow_block)
    async with database.sessions.begin() as session:
        await claims.requeue(session, claim)
    trials = SimulatedTrials(hangs_in_block=2)
    with anyio.fail_after(30):
        await job_of(database, await read(database, row), trials).run(row.id)
    assert (await read(database, row)).failure["code"] == "timeout"


def refuses(*_):
    raise OSError("GPU is lost")


def never_answers(*_):
    threading.Event().wait(2)


@pytest.mark.parametrize("driver", [refuses, never_answers])
async def test_a_driver_that_does_not_say_which_gpu_it_is_casts_doubt_on_it(database, monkeypatch, driver):
    monkeypatch.setattr(worker_job, "fingerprint_of", driver)
    monkeypatch.setattr(worker_job, "ANSWER_SECONDS", 0.1)
    row = await submit(database, FOUR_BLOCKS)
    await job_of(database, row, SimulatedTrials(), sick).run(row.id)
    passed_on = await read(database, row)
    assert (passed_on.status, passed_on.attempt) == ("queued", 1)

    await job_of(database, passed_on, SimulatedTrials(), well).run(row.id)
    failure = (await read(database, row)).failure
    assert failure["code"] == "internal"
    assert "Could not identify the GPU" in failure["detail"]


async def test_a_device_found_sick_after_the_last_block_gets_no_report(database):
    """In the search for the largest batch."""

    class CapacityCrashes(SimulatedTrials):
        async def run(self, spec, deadline_seconds, after_step, keep_trace):
            if spec.phase == "capacity":
                return Failure.of(FailureCode.INTERNAL, "An illegal memory access was encountered"), ""
            return await super().run(spec, deadline_seconds, after_step, keep_trace)

    asked = request(measurement={"min_blocks": 2, "max_blocks": 2, "capacity": True, "capacity_memory_mib": 512})
    row = await submit(database, asked)
    await job_of(database, row, CapacityCrashes(), sick).run(row.id)
    passed_on = await read(database, row)
    assert (passed_on.status, passed_on.attempt, passed_on.finished_at) == ("queued", 1, None)


VERIFYING = request(
    training={"batch_size": 8, "steps": 12, "warmup_steps": 2},
    measurement={"min_blocks": 2, "max_blocks": 2},
    explain={"verify": True},
)


class Verified(SimulatedTrials):
    """Legs that take turns; trials that verify advice have an outcome of their own."""

    def __init__(self, alone=survey):
        super().__init__()
        self._alone = alone

    async def run(self, spec, deadline_seconds, after_step, keep_trace):
        return (self._alone if spec.phase == "verify" else survey)(spec), ""

    async def run_in_turns(self, specs, turns, deadline_seconds, after_step):
        return [(outcome, "") for outcome in turned(specs, turns)]


def advise_a_larger_batch(comparison):
    """In place of the report's advice, which these trials have no evidence for."""
    larger = changed(comparison.request, config__training__batch_size=16)
    gain = Estimate(value=1.5, ci_low=1.2, ci_high=1.8)
    advice = Advice(name="larger_batch", text="", evidence="", estimated_gain=gain, request=larger)
    return {"bf16": [advice]}


async def test_advice_is_verified_after_the_last_block_if_the_request_asks_for_it(database, monkeypatch):
    monkeypatch.setattr(worker_job, "advice_by_candidate", advise_a_larger_batch)
    row = await submit(database, VERIFYING)
    await job_of(database, row, Verified()).run(row.id)
    phases = [event.data.phase for event in await events_as_written(database, row) if event.kind == "trial_finished"]
    assert phases == ["survey"] * 2 + ["measure"] * 4 + ["verify"] * 7
    assert (await read(database, row)).status == "succeeded"


async def test_what_advice_is_worth_costs_no_report(database, monkeypatch):
    def breaks(spec):
        raise Death

    monkeypatch.setattr(worker_job, "advice_by_candidate", advise_a_larger_batch)
    row = await submit(database, VERIFYING)
    await job_of(database, row, Verified(alone=breaks)).run(row.id)
    assert (await read(database, row)).status == "succeeded"
    assert (await report_of(database, row)).blocks == 2


async def test_a_device_found_sick_while_advice_is_verified_gets_no_report(database, monkeypatch):
    def crashes(spec):
        return Failure.of(FailureCode.INTERNAL, "An illegal memory access was encountered")

    monkeypatch.setattr(worker_job, "advice_by_candidate", advise_a_larger_batch)
    row = await submit(database, VERIFYING)
    await job_of(database, row, Verified(alone=crashes), sick).run(row.id)
    assert (await read(database, row)).status == "queued"


async def test_a_database_that_is_away_for_as_long_as_the_lease_takes_the_claim(database, monkeypatch):
    monkeypatch.setattr(worker_job, "LEASE", timedelta(seconds=0.2))
    row = await submit(database, FOUR_BLOCKS)
    claim = await take(database, row)

    async def away(session, claim):
        raise OperationalError("SELECT", None, Exception("the server closed the connection"))

    with pytest.raises(ClaimLost):
        await job_of(database, row, SimulatedTrials()).in_transaction(away, claim)


async def test_what_the_database_will_never_take_is_not_tried_again(database):
    tried = []
    row = await submit(database, FOUR_BLOCKS)
    claim = await take(database, row)

    async def impossible(session, claim):
        tried.append(claim)
        raise DataError("INSERT", None, Exception("unsupported Unicode escape sequence"))

    with pytest.raises(DataError):
        await job_of(database, row, SimulatedTrials()).in_transaction(impossible, claim)
    assert len(tried) == 1


async def test_a_failure_may_quote_what_no_database_takes(database):
    class Garbled(SimulatedTrials):
        async def run(self, spec, deadline_seconds, after_step, keep_trace):
            return Failure.of(FailureCode.INVALID_MODEL, "bad magic \0\ud800!"), "\0"

    row = await submit(database, FOUR_BLOCKS)
    await job_of(database, row, Garbled()).run(row.id)
    failure = (await read(database, row)).failure
    assert (failure["code"], failure["detail"]) == ("invalid_model", "bad magic !")


async def test_a_claim_whose_answer_was_lost_is_known_to_the_next_try(database, monkeypatch):
    row = await submit(database, FOUR_BLOCKS)
    committed = claims.take
    answers = []

    async def lost_once(session, *arguments):
        claim = await committed(session, *arguments)
        if not answers:
            await session.commit()
            answers.append(claim)
            raise OperationalError("COMMIT", {}, ConnectionError("no answer"))
        return claim

    monkeypatch.setattr(claims, "take", lost_once)
    await job_of(database, row, SimulatedTrials()).run(row.id)
    ended = await read(database, row)
    assert (ended.status, ended.attempt) == ("succeeded", 1)


async def test_an_entry_that_another_worker_claimed_is_nobody_elses(database):
    row = await submit(database, FOUR_BLOCKS)
    assert await take(database, row)
    async with database.sessions.begin() as session:
        assert await claims.take(session, row.id, row.queue_entry_id, "other:cpu", None) is None


IN_TURNS = request(
    training={"batch_size": 8, "steps": 85, "warmup_steps": 5},
    measurement={"min_blocks": 4, "max_blocks": 4, "time_budget_seconds": 100_000},
)


class SimulatedTurns:
    """In place of the launcher: legs take turns, from one block on none ends."""

    def __init__(self, hangs_in_block=None, crowded_in_block=None):
        self._hangs_in_block, self._crowded_in_block = hangs_in_block, crowded_in_block
        self.hangs = anyio.Event()
        self.surveys, self.blocks, self.whole = 0, [], []

    async def run(self, spec, deadline_seconds, after_step, keep_trace):
        if spec.phase == "survey":
            self.surveys += 1
        else:
            self.whole.append(spec.block)
        return survey(spec), ""

    async def run_in_turns(self, specs, turns, deadline_seconds, after_step):
        block = specs[0].block
        if block == self._hangs_in_block:
            self.hangs.set()
            await anyio.sleep_forever()
        if block == self._crowded_in_block:
            return [(None, ""), (Failure.of(FailureCode.OUT_OF_MEMORY, "too little"), "")]
        self.blocks.append(block)
        return [(one, "") for one in turned(specs, turns)]


async def test_the_next_attempt_goes_on_after_the_survey_and_the_blocks_in_turns(database):
    row = await submit(database, IN_TURNS)
    first = SimulatedTurns(hangs_in_block=3)
    job = job_of(database, row, first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job.run, row.id)
        await first.hangs.wait()
        job.stop()
    second = SimulatedTurns()
    await job_of(database, await read(database, row), second).run(row.id)
    report = await report_of(database, row)
    assert (first.surveys, second.surveys) == (2, 0)
    assert (first.blocks, second.blocks) == ([0, 1, 2], [2, 3])
    assert (report.blocks, report.reused_blocks, report.pairing) == (4, 2, "turns")
    seen = await events_as_written(database, row)
    assert [event.data.phase for event in seen if event.kind == "trial_finished"][:3] == ["survey", "survey", "measure"]
    assert [event.data.block for event in seen if event.kind == "block_finished"] == [0, 1, 2, 2, 3]


async def test_blocks_in_turns_that_were_given_up_are_not_resumed(database):
    row = await submit(database, IN_TURNS)
    trials = SimulatedTurns(crowded_in_block=2)
    await job_of(database, row, trials).run(row.id)
    report = await report_of(database, row)
    assert (trials.blocks, trials.whole) == ([0, 1], [1, 1, 2, 2, 3, 3])
    assert (report.pairing, report.blocks, report.verdict) == ("trials", 4, "pass"), report.reasons
