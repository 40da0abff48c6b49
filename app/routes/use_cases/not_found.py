"""The error for an id that no row has: never existed, deleted, or purged by retention."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.store.upkeep import retention

UNKNOWN = "No benchmark has this id; it may have been deleted. Check the id."

PURGED = (
    "It was older than this server keeps results (HALFTIME_RETENTION_DAYS), so it was purged. "
    "Submit the request again to measure it anew."
)


async def not_found(session: AsyncSession, row_id: UUID, unknown: str = UNKNOWN) -> errors.NotFound | errors.Purged:
    """Returns the error to raise: Purged (410) where retention deleted the row, otherwise NotFound (404)."""
    if await retention.was_purged(session, row_id):
        return errors.Purged(PURGED)
    return errors.NotFound(unknown)
