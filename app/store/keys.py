"""API keys: create, look up, revoke, and count submissions for quotas. Keys are never deleted."""

import contextlib
import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from app.settings import Settings
from app.store import benchmarks
from app.store.database.tables import ApiKeyRow, KeySubmitsRow
from halftime.contract.resources.key import NewKey

#: Prefix of every key, by which people and secret scanners recognise one.
PREFIX = "ht_"

#: 256 bits, encoded as 43 characters of URL-safe base64.
SECRET_BYTES = 32

#: Accuracy of `last_used_at`: a write for each request would cost more than the request.
USE_RECORDED_EVERY = timedelta(minutes=1)

#: Sliding window of quotas.
WINDOW = timedelta(hours=1)


def digest(key: str) -> bytes:
    """Returns the hash under which a key is stored.

    One SHA-256 is sufficient: a key has 256 random bits and cannot be guessed, so a slow hash adds no protection.
    """
    return hashlib.sha256(key.encode()).digest()


async def create(session: AsyncSession, wanted: NewKey) -> tuple[ApiKeyRow, str]:
    """Creates a key. Returns its row and the key itself, which is not stored."""
    key = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = ApiKeyRow(
        id=uuid_utils.compat.uuid7(),
        name=wanted.name,
        sha256=digest(key),
        scopes=list(wanted.scopes),
        submits_per_hour=wanted.submits_per_hour,
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    return row, key


async def all_keys(session: AsyncSession) -> list[ApiKeyRow]:
    """Returns every key ever created, oldest first."""
    return list(await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id)))


async def revoke(session: AsyncSession, key_id: UUID) -> ApiKeyRow | None:
    """Revokes a key permanently; repeating it changes nothing. Returns None for an unknown key."""
    row = await session.get(ApiKeyRow, key_id, with_for_update=True)
    if row is not None and row.revoked_at is None:
        row.revoked_at = await benchmarks.now(session)
    return row


async def any_valid(session: AsyncSession) -> bool:
    """Whether there is a key that is not revoked."""
    result: bool = (await session.execute(select(exists().where(ApiKeyRow.revoked_at.is_(None))))).scalar_one()
    return result


async def any_made(session: AsyncSession) -> bool:
    """Whether a key was ever created, revoked or not."""
    result: bool = (await session.execute(select(exists().where(ApiKeyRow.id.is_not(None))))).scalar_one()
    return result


async def are_asked_for(session: AsyncSession, settings: Settings) -> bool:
    """Whether clients need a key: once one was created, or with anonymous access allowed, while a valid one exists."""
    if not settings.open_without_keys:
        return True
    return await (any_valid if settings.allow_anonymous else any_made)(session)


async def find(session: AsyncSession, key: str) -> ApiKeyRow | None:
    """Returns the row of a key, revoked or not, and records its use. The lookup by hash prevents timing attacks."""
    recorded = ApiKeyRow.last_used_at > func.now() - USE_RECORDED_EVERY
    query = select(ApiKeyRow, recorded).where(ApiKeyRow.sha256 == digest(key))
    row, recorded_lately = (await session.execute(query)).one_or_none() or (None, None)
    if row is not None and row.revoked_at is None and not recorded_lately:
        use = update(ApiKeyRow).where(ApiKeyRow.id == row.id, recorded.is_not(True))
        with contextlib.suppress(OperationalError):  # a full disk must not prevent reading
            async with session.begin_nested():
                await session.execute(use.values(last_used_at=func.now()))
    return row


async def still_valid(session: AsyncSession, key_id: UUID) -> bool:
    """Whether a key that was accepted before is still not revoked."""
    return await session.scalar(select(ApiKeyRow.revoked_at.is_(None)).where(ApiKeyRow.id == key_id)) is True


async def submitted_lately(session: AsyncSession, key_id: UUID) -> int:
    """Counts the benchmarks that a key submitted within the window that ends now, deleted ones included.

    Locks the key until the transaction ends, so that submissions under one quota are counted one after the other.
    Deletes older counts.
    """
    # The weakest lock that excludes itself: rows that refer to the key are not blocked.
    await session.execute(select(ApiKeyRow.id).where(ApiKeyRow.id == key_id).with_for_update(key_share=True))
    of_the_key = KeySubmitsRow.api_key_id == key_id
    await session.execute(delete(KeySubmitsRow).where(of_the_key, KeySubmitsRow.submitted_at <= func.now() - WINDOW))
    return await session.scalar(select(func.sum(KeySubmitsRow.benchmarks)).where(of_the_key)) or 0


async def count_submits(session: AsyncSession, key_id: UUID, count: int) -> None:
    """Records that a key, locked by `submitted_lately`, submits `count` benchmarks now."""
    statement = insert(KeySubmitsRow).values(api_key_id=key_id, benchmarks=count)
    raised = {"benchmarks": KeySubmitsRow.benchmarks + statement.excluded.benchmarks}
    at_once = [KeySubmitsRow.api_key_id, KeySubmitsRow.submitted_at]
    await session.execute(statement.on_conflict_do_update(index_elements=at_once, set_=raised))


async def room_in(session: AsyncSession, key_id: UUID, places: int) -> timedelta:
    """Returns the time until the oldest `places` submissions leave the window; a whole window if there are fewer."""
    left = (KeySubmitsRow.submitted_at + WINDOW - func.now()).label("left")
    freed = func.sum(KeySubmitsRow.benchmarks).over(order_by=KeySubmitsRow.submitted_at).label("freed")
    each = select(left, freed).where(KeySubmitsRow.api_key_id == key_id).subquery()
    pause: timedelta | None = await session.scalar(select(func.min(each.c.left)).where(each.c.freed >= places))
    return WINDOW if pause is None else pause
