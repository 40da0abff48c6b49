"""The events of a benchmark, in order."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store.database.tables import BenchmarkRow, EventRow, Json
from halftime.contract.resources.benchmark import Event


def append(session: AsyncSession, row: BenchmarkRow, kind: str, data: Json | None = None) -> None:
    """Adds the next event. The caller holds the row's lock, which keeps the sequence gapless."""
    row.last_event += 1
    session.add(EventRow(benchmark_id=row.id, seq=row.last_event, kind=kind, data=data or {}))


async def note(session: AsyncSession, benchmark_id: UUID, kind: str, data: Json) -> bool:
    """Adds the next event whatever the benchmark's status, under its lock. False where it was deleted meanwhile."""
    query = select(BenchmarkRow).where(BenchmarkRow.id == benchmark_id).with_for_update()
    row = (await session.scalars(query)).one_or_none()
    if row is None:
        return False
    append(session, row, kind, data)
    return True


async def after(session: AsyncSession, benchmark_id: UUID, seq: int, limit: int) -> list[Event]:
    """Returns the events after `seq`, oldest first."""
    query = select(EventRow).where(EventRow.benchmark_id == benchmark_id, EventRow.seq > seq)
    rows = await session.scalars(query.order_by(EventRow.seq).limit(limit))
    return [Event(seq=row.seq, created_at=row.created_at, kind=row.kind, data=row.data) for row in rows]
