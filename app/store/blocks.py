"""Completed blocks of running benchmarks, stored and resumed under a claim; deleted when the benchmark ends."""

import gzip
from collections.abc import Iterator, Sequence

from pydantic import ValidationError
from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import events
from app.store.claims import Claim, held
from app.store.database.tables import CompletedBlockRow, TraceRow
from halftime.contract.event_data import BlockFinished, BlocksDiscarded, BlocksReused
from halftime.contract.report.block import Block, Fingerprint, KeptBlock

#: Blocks are resumed in pairs: drift of the machine cancels over two blocks in opposite order within one attempt. The
#: survey before them counts for itself.
PAIR = 2


async def keep(
    session: AsyncSession, claim: Claim, measured_with: Fingerprint, block: Block, known: BlockFinished | None
) -> None:
    """Stores a block, and an event with the figures known after it, if there are any. Idempotent. Raises ClaimLost.

    A first block starts anew: whatever was stored before was discarded.
    """
    row = await held(session, claim)
    block_gzip = gzip.compress(block.model_dump_json().encode(), mtime=0)
    if block.index == 0:
        other = or_(CompletedBlockRow.index > 0, CompletedBlockRow.block_gzip != block_gzip)
        await session.execute(delete(CompletedBlockRow).where(CompletedBlockRow.benchmark_id == row.id, other))
    stored = insert(CompletedBlockRow).values(
        benchmark_id=row.id,
        index=block.index,
        attempt=row.attempt,
        worker_id=row.worker_id,
        measured_with=measured_with.model_dump(mode="json"),
        block_gzip=block_gzip,
    )
    is_new = await session.scalar(stored.on_conflict_do_nothing().returning(CompletedBlockRow.index)) is not None
    if is_new and known is not None:
        events.append(session, row, known)


async def resume_blocks(session: AsyncSession, claim: Claim, measured_with: Fingerprint) -> list[KeptBlock]:
    """Returns the stored blocks from the first one on, in pairs and without a gap, that have the same fingerprint.

    All others are discarded; events have their number and the reason. Without the first, the legs' traces go too: they
    are of its trials. Raises ClaimLost.
    """
    row = await held(session, claim)
    of_benchmark = CompletedBlockRow.benchmark_id == row.id
    in_order = select(CompletedBlockRow).where(of_benchmark).order_by(CompletedBlockRow.index)
    rows = (await session.scalars(in_order)).all()
    usable = list(_usable(rows, measured_with))
    surveys = int(bool(usable) and usable[0].block.pairing == "survey")
    reused = usable[: surveys + (len(usable) - surveys) // PAIR * PAIR]
    if reused:
        events.append(session, row, BlocksReused(blocks=len(reused) - surveys))
    else:
        await session.execute(delete(TraceRow).where(TraceRow.benchmark_id == row.id))
    if len(rows) > len(reused):
        unpaired, measured_otherwise = len(usable) - len(reused), len(rows) - len(usable)
        events.append(session, row, BlocksDiscarded(unpaired=unpaired, measured_otherwise=measured_otherwise))
        await session.execute(delete(CompletedBlockRow).where(of_benchmark, CompletedBlockRow.index >= len(reused)))
    return reused


def _usable(rows: Sequence[CompletedBlockRow], measured_with: Fingerprint) -> Iterator[KeptBlock]:
    fingerprint = measured_with.model_dump(mode="json")
    for index, row in enumerate(rows):
        if row.index != index or row.measured_with != fingerprint:
            return
        try:
            block = Block.model_validate_json(gzip.decompress(row.block_gzip))
        except ValidationError:  # written by a build of the same version with another contract
            return
        yield KeptBlock(attempt=row.attempt, worker=row.worker_id, block=block)
