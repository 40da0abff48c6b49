"""One benchmark from claim to outcome, on a real database; the trials are simulated."""

import gzip
import json

import anyio
import pytest

from app.store import benchmarks, blocks, claims
from tests.app.test_reaper import read, submit, take
from tests.factories import CPU, comparison, request, trial
from worker.comparison import compare
from worker.identity import measured_with
from worker.job import Job

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

    async def run(self, spec, deadline_seconds, after_step):
        if spec.block == self.hangs_in_block:
            self.hangs.set()
            await anyio.sleep_forever()
        self.blocks.append(spec.block)
        return trial(spec), ""


def job_of(database, row, trials):
    return Job(database.sessions, trials, "node:cpu", CPU, row.queue_entry_id, max_parameters=10**9)


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
    async with database.sessions() as session:
        report = json.loads(gzip.decompress(await benchmarks.report_gzip(session, row.id)))
    assert (report["blocks"], report["reused_blocks"]) == (4, 2)


async def test_the_timeout_counts_what_reused_blocks_took(database):
    asked = FOUR_BLOCKS
    row = await submit(database, asked)
    claim = await take(database, row)

    async def keep_slow_block(block):
        slow = block.model_copy(update={"seconds": 1800.0})
        async with database.sessions.begin() as session:
            await blocks.keep(session, claim, measured_with(CPU, asked), slow)

    async def run_trial(spec, deadline_seconds, after_step):
        if spec.block == 2:
            raise Death
        return trial(spec)

    with pytest.raises(Death):
        await compare(comparison(asked), run_trial, lambda progress: None, keep_slow_block)
    async with database.sessions.begin() as session:
        await claims.hand_back(session, claim)
    trials = SimulatedTrials(hangs_in_block=2)
    with anyio.fail_after(30):
        await job_of(database, await read(database, row), trials).run(row.id)
    assert (await read(database, row)).failure["code"] == "timeout"
