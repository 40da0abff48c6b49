"""What a read answers for an id that no row has."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.store.upkeep import retention

UNKNOWN = "No benchmark has this id; it may have been deleted."

PURGED = "It was purged when it was older than this server keeps results (HALFTIME_RETENTION_DAYS)."


async def not_found(session: AsyncSession, row_id: UUID, unknown: str = UNKNOWN) -> errors.NotFound | errors.Purged:
    """The error to raise: 410 where retention took the row, else 404."""
    if await retention.was_purged(session, row_id):
        return errors.Purged(PURGED)
    return errors.NotFound(unknown)
