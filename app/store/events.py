"""The events of a benchmark, in order."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store.database.tables import BenchmarkRow, EventRow, Json
from halftime.contract.event_data import EventData
from halftime.contract.events import EVENT, Event
from halftime.contract.strict import Output


class StoredEvent(Output):
    """An event as it is stored, and sent as it is: nothing looks into its data."""

    seq: int
    created_at: datetime
    kind: str
    data: Json

    def parsed(self) -> Event:
        """The event with the data of its kind; an `UnknownEvent` where the data is not that of its kind."""
        return EVENT.validate_python(dict(self))


def append(session: AsyncSession, row: BenchmarkRow, data: EventData) -> None:
    """Adds the next event. The caller holds the row's lock, which keeps the sequence gapless."""
    row.last_event += 1
    session.add(EventRow(benchmark_id=row.id, seq=row.last_event, kind=data.kind, data=data.as_json()))


async def lock_and_append(session: AsyncSession, benchmark_id: UUID, data: EventData) -> bool:
    """Adds the next event whatever the benchmark's status, under its lock. False where it was deleted meanwhile."""
    query = select(BenchmarkRow).where(BenchmarkRow.id == benchmark_id).with_for_update()
    row = (await session.scalars(query)).one_or_none()
    if row is None:
        return False
    append(session, row, data)
    return True


async def list_after(session: AsyncSession, benchmark_id: UUID, seq: int, limit: int) -> list[StoredEvent]:
    """Returns the events after `seq`, oldest first."""
    query = select(EventRow).where(EventRow.benchmark_id == benchmark_id, EventRow.seq > seq)
    rows = await session.scalars(query.order_by(EventRow.seq).limit(limit))
    return [StoredEvent(seq=row.seq, created_at=row.created_at, kind=row.kind, data=row.data) for row in rows]
