"""Operations on sweeps: submit and read."""

from collections.abc import Sequence
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import benchmarks
from app.store.database.tables import BenchmarkRow, SweepRow
from halftime.contract.resources.sweep import SweepRequest


async def submit(
    session: AsyncSession, request: SweepRequest, *, sweep_id: UUID | None = None, api_key_id: UUID | None = None
) -> SweepRow:
    """Stores a sweep with its benchmarks and their queue entries in the caller's transaction."""
    sweep = SweepRow(id=sweep_id or uuid_utils.compat.uuid7(), request=request.model_dump(mode="json"))
    session.add(sweep)
    await session.flush()
    for benchmark_request in request.benchmarks():
        row = await benchmarks.submit(session, benchmark_request, api_key_id=api_key_id)
        row.sweep_id = sweep.id
    await session.flush()
    await session.refresh(sweep)
    return sweep


async def get(session: AsyncSession, sweep_id: UUID) -> tuple[SweepRow, Sequence[BenchmarkRow]] | None:
    """Returns a sweep with its benchmarks in the order of their creation; None for an unknown ID."""
    sweep = await session.get(SweepRow, sweep_id)
    if sweep is None:
        return None
    query = select(BenchmarkRow).where(BenchmarkRow.sweep_id == sweep_id).order_by(BenchmarkRow.id)
    return sweep, (await session.scalars(query)).all()
