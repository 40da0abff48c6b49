"""Traces are kept under the claim, one per leg, for as long as the trials that they are of count."""

import pytest
from sqlalchemy import text

from app.store import benchmarks, claims, traces
from app.store.claims import ClaimLost
from halftime.contract.report.failure import Failure, FailureCode
from tests.app.acts import made_report
from tests.app.store.test_blocks import HERE, interrupted, resume_blocks
from tests.app.store.test_reaper import expire_lease, read, submit, sweep, take

pytestmark = pytest.mark.anyio


async def keep(database, claim, leg, trace):
    async with database.sessions.begin() as session:
        await traces.keep(session, claim, leg, trace)


async def stored(database):
    async with database.sessions() as session:
        rows = await session.execute(text("SELECT leg, data FROM traces"))
    return {leg: bytes(data) for leg, data in rows}


async def running(database):
    """A benchmark, and the claim that it is held by, with the trace of a leg."""
    row = await submit(database)
    claim = await take(database, row)
    await keep(database, claim, "bf16", b"first")
    return row, claim


async def succeed(database, row, claim):
    report = await made_report(str(row.id))
    async with database.sessions.begin() as session:
        await claims.succeed(session, claim, report, claims.pack(report))


async def read_trace(database, row, leg):
    async with database.sessions() as session:
        return await traces.get(session, row.id, leg)


async def test_a_leg_has_the_trace_that_came_last(database):
    row, claim = await running(database)
    await keep(database, claim, "bf16", b"second")
    await keep(database, claim, "fp32", b"other")
    await succeed(database, row, claim)
    assert [await read_trace(database, row, leg) for leg in ("bf16", "fp32", "fp16")] == [b"second", b"other", None]


async def test_a_trace_is_given_once_there_is_a_report(database):
    row, claim = await running(database)
    assert await read_trace(database, row, "bf16") is None
    await succeed(database, row, claim)
    assert await read_trace(database, row, "bf16") == b"first"


async def test_a_claim_that_is_gone_stores_nothing(database):
    _, frozen = await running(database)
    await expire_lease(database)
    await sweep(database)
    with pytest.raises(ClaimLost):
        await keep(database, frozen, "bf16", b"late")
    assert await stored(database) == {"bf16": b"first"}


@pytest.mark.parametrize(("measured_with", "left"), [(HERE, ["bf16"]), (HERE.model_copy(update={"driver": "590"}), [])])
async def test_traces_stay_for_the_attempt_that_goes_on_after_their_trials(database, measured_with, left):
    row, _, successor = await interrupted(database, range(2))
    await keep(database, successor, "bf16", b"of the first block")
    await resume_blocks(database, successor, measured_with)
    assert list(await stored(database)) == left
    assert (await read(database, row)).status == "running"


async def test_a_benchmark_that_fails_has_no_traces(database):
    _, claim = await running(database)
    async with database.sessions.begin() as session:
        await claims.fail(session, claim, Failure.of(FailureCode.INTERNAL, "torn"))
    assert await stored(database) == {}


async def test_a_benchmark_that_is_cancelled_has_no_traces(database):
    row, claim = await running(database)
    async with database.sessions.begin() as session:
        await benchmarks.cancel(session, row.id)
        await claims.requeue(session, claim)
    assert await stored(database) == {}


async def test_traces_go_with_their_benchmark(database):
    row, claim = await running(database)
    await succeed(database, row, claim)
    async with database.sessions.begin() as session:
        await benchmarks.remove(session, row.id)
    assert await stored(database) == {}
