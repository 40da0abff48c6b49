"""Completed blocks are kept under the claim, taken over by the next attempt if they fit, and go with the benchmark."""

import gzip

import pytest
from sqlalchemy import text

from app.store import benchmarks, blocks, claims, events
from app.store.claims import ClaimLost
from halftime.contract.event_data import BlockFinished
from halftime.contract.report.block import Block, Fingerprint, LegOutcome
from tests.app.store.test_reaper import execute, expire_lease, read, submit, sweep, take
from tests.factories import request, trial
from worker.messages import TrialSpec

pytestmark = pytest.mark.anyio

HERE = Fingerprint(
    device="GPU-1",
    driver="580",
    cores=2,
    python="3",
    os="an OS",
    halftime="0",
    packages_sha256="packages",
    request_sha256="request",
)


def block(index):
    asked = request()
    spec = TrialSpec(
        device="cpu",
        precision="fp32",
        block=index,
        position=0,
        model=asked.model,
        training=asked.config.training,
    )
    outcome = LegOutcome(precision="fp32", trial=trial(spec), failure=None)
    return Block(index=index, outcomes=[outcome], seconds=1.5, repeats=0)


async def keep(database, claim, index, measured_with=HERE):
    async with database.sessions.begin() as session:
        known = BlockFinished(block=index, planned_blocks=4, speedups={})
        await blocks.keep(session, claim, measured_with, block(index), known)


async def resume_blocks(database, claim, measured_with=HERE):
    async with database.sessions.begin() as session:
        return await blocks.resume_blocks(session, claim, measured_with)


async def stored(database):
    async with database.sessions() as session:
        return list(await session.scalars(text('SELECT "index" FROM completed_blocks ORDER BY 1')))


async def told(database, row):
    async with database.sessions() as session:
        return {event.kind: event.data for event in await events.list_after(session, row.id, 0, 100)}


async def interrupted(database, indices, measured_with=HERE):
    """A benchmark whose first attempt died after these blocks, the claim that it had, and that of its successor."""
    row = await submit(database)
    first = await take(database, row)
    for index in indices:
        await keep(database, first, index, measured_with)
    await expire_lease(database)
    await sweep(database)
    return row, first, await take(database, await read(database, row))


async def test_the_next_attempt_gets_the_blocks_as_they_were(database):
    row, _, successor = await interrupted(database, range(4))
    taken = await resume_blocks(database, successor)
    assert [kept.block.index for kept in taken] == [0, 1, 2, 3]
    assert taken[0].block.outcomes[0].trial.step_seconds == block(0).outcomes[0].trial.step_seconds
    assert {(kept.attempt, kept.worker, kept.block.seconds) for kept in taken} == {(1, "node:cpu", 1.5)}
    assert (await told(database, row))["blocks_reused"] == {"blocks": 4}


async def test_a_block_whose_pair_is_missing_is_measured_again(database):
    row, _, successor = await interrupted(database, range(3))
    assert len(await resume_blocks(database, successor)) == 2
    assert await stored(database) == [0, 1]
    assert (await told(database, row))["blocks_discarded"] == {"unpaired": 1, "measured_otherwise": 0}


async def test_a_gap_ends_what_is_reused(database):
    _, _, successor = await interrupted(database, [0, 1, 3, 4])
    assert len(await resume_blocks(database, successor)) == 2
    assert await stored(database) == [0, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"device": "GPU-2"},
        {"driver": "590"},
        {"packages_sha256": "others"},
        {"request_sha256": "another"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_what_was_measured_otherwise_is_discarded(database, other):
    row, _, successor = await interrupted(database, range(2))
    assert await resume_blocks(database, successor, HERE.model_copy(update=other)) == []
    assert await stored(database) == []
    kinds = await told(database, row)
    assert kinds["blocks_discarded"] == {"unpaired": 0, "measured_otherwise": 2}
    assert "blocks_reused" not in kinds


async def test_a_block_that_cannot_be_read_any_more_is_discarded(database):
    _, _, successor = await interrupted(database, range(2))
    await execute(database, "UPDATE completed_blocks SET block_gzip = :bytes", bytes=gzip.compress(b"{}"))
    assert await resume_blocks(database, successor) == []


async def test_a_claim_that_is_gone_neither_adds_nor_discards_blocks(database):
    _, frozen, _ = await interrupted(database, range(2))
    with pytest.raises(ClaimLost):
        await keep(database, frozen, 2)
    with pytest.raises(ClaimLost):
        await resume_blocks(database, frozen, HERE.model_copy(update={"device": "GPU-2"}))
    assert await stored(database) == [0, 1]


async def test_a_block_written_twice_is_kept_once(database):
    row = await submit(database)
    claim = await take(database, row)
    await keep(database, claim, 0)
    await keep(database, claim, 0)
    assert await stored(database) == [0]


async def test_a_benchmark_handed_back_keeps_its_blocks(database):
    row = await submit(database)
    claim = await take(database, row)
    await keep(database, claim, 0)
    await keep(database, claim, 1)
    async with database.sessions.begin() as session:
        await claims.requeue(session, claim)
    assert len(await resume_blocks(database, await take(database, await read(database, row)))) == 2


async def test_a_first_attempt_says_nothing_of_blocks(database):
    row = await submit(database)
    assert await resume_blocks(database, await take(database, row)) == []
    assert set(await told(database, row)) == {"queued", "started"}


async def test_blocks_go_when_the_benchmark_ends(database):
    row, _, _ = await interrupted(database, range(2))
    async with database.sessions.begin() as session:
        await benchmarks.cancel(session, row.id)
    await expire_lease(database)
    await sweep(database)
    assert (await read(database, row)).status == "cancelled"
    assert await stored(database) == []
