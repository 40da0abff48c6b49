"""API keys: made, looked up, revoked, and how much each submitted lately. Keys are never deleted."""

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

#: Begins every key, for people and secret scanners to know one by.
PREFIX = "ht_"

#: 256 bits, written as 43 characters of URL-safe base64.
SECRET_BYTES = 32

#: How exact `last_used_at` is: a write for each request would cost more than the request.
USE_RECORDED_EVERY = timedelta(minutes=1)

#: What quotas are counted over.
WINDOW = timedelta(hours=1)


def digest(key: str) -> bytes:
    """What is stored of a key.

    One SHA-256 is enough: a key is 256 random bits, so there is nothing to guess that a slow hash would protect.
    """
    return hashlib.sha256(key.encode()).digest()


async def create(session: AsyncSession, wanted: NewKey) -> tuple[ApiKeyRow, str]:
    """Makes a key; the second value is the key itself, which is kept nowhere."""
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
    """Every key ever made, oldest first."""
    return list(await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.id)))


async def revoke(session: AsyncSession, key_id: UUID) -> ApiKeyRow | None:
    """Ends a key for good; repeating it changes nothing. None for an unknown one."""
    row = await session.get(ApiKeyRow, key_id, with_for_update=True)
    if row is not None and row.revoked_at is None:
        row.revoked_at = await benchmarks.now(session)
    return row


async def any_valid(session: AsyncSession) -> bool:
    """Whether there is a key that is not revoked."""
    found: bool = (await session.execute(select(exists().where(ApiKeyRow.revoked_at.is_(None))))).scalar_one()
    return found


async def any_made(session: AsyncSession) -> bool:
    """Whether a key was ever made, revoked or not."""
    found: bool = (await session.execute(select(exists().where(ApiKeyRow.id.is_not(None))))).scalar_one()
    return found


async def are_asked_for(session: AsyncSession, settings: Settings) -> bool:
    """Whether clients need a key: from the first on, or, where anonymous ones are allowed, while one is valid."""
    if not settings.open_without_keys:
        return True
    return await (any_valid if settings.allow_anonymous else any_made)(session)


async def find(session: AsyncSession, key: str) -> ApiKeyRow | None:
    """The row of a key, revoked or not, and its use recorded. Looked up by hash: no timing tells of a near miss."""
    recorded = ApiKeyRow.last_used_at > func.now() - USE_RECORDED_EVERY
    query = select(ApiKeyRow, recorded).where(ApiKeyRow.sha256 == digest(key))
    row, recorded_lately = (await session.execute(query)).one_or_none() or (None, None)
    if row is not None and row.revoked_at is None and not recorded_lately:
        use = update(ApiKeyRow).where(ApiKeyRow.id == row.id, recorded.is_not(True))
        with contextlib.suppress(OperationalError):  # a full disk keeps nobody from reading
            async with session.begin_nested():
                await session.execute(use.values(last_used_at=func.now()))
    return row


async def still_valid(session: AsyncSession, key_id: UUID) -> bool:
    """Whether a key, whose holder was let in before, is not revoked."""
    return await session.scalar(select(ApiKeyRow.revoked_at.is_(None)).where(ApiKeyRow.id == key_id)) is True


async def submitted_lately(session: AsyncSession, key_id: UUID) -> int:
    """Benchmarks that a key submitted within the window that ends now, deleted ones included.

    Locks the key until the transaction ends, so that submits under one quota are counted one after the other. Forgets
    what is older.
    """
    # As weak as a lock against its like can be: what only refers to the key does not wait for it.
    await session.execute(select(ApiKeyRow.id).where(ApiKeyRow.id == key_id).with_for_update(key_share=True))
    of_the_key = KeySubmitsRow.api_key_id == key_id
    await session.execute(delete(KeySubmitsRow).where(of_the_key, KeySubmitsRow.submitted_at <= func.now() - WINDOW))
    return await session.scalar(select(func.sum(KeySubmitsRow.benchmarks)).where(of_the_key)) or 0


async def count_submits(session: AsyncSession, key_id: UUID, count: int) -> None:
    """Counts `count` benchmarks that a key, locked by `submitted_lately`, submits now."""
    statement = insert(KeySubmitsRow).values(api_key_id=key_id, benchmarks=count)
    raised = {"benchmarks": KeySubmitsRow.benchmarks + statement.excluded.benchmarks}
    at_once = [KeySubmitsRow.api_key_id, KeySubmitsRow.submitted_at]
    await session.execute(statement.on_conflict_do_update(index_elements=at_once, set_=raised))


async def room_in(session: AsyncSession, key_id: UUID, places: int) -> timedelta:
    """Until the oldest `places` of a key's submits have left the window; a whole window where there are fewer."""
    left = (KeySubmitsRow.submitted_at + WINDOW - func.now()).label("left")
    freed = func.sum(KeySubmitsRow.benchmarks).over(order_by=KeySubmitsRow.submitted_at).label("freed")
    each = select(left, freed).where(KeySubmitsRow.api_key_id == key_id).subquery()
    found: timedelta | None = await session.scalar(select(func.min(each.c.left)).where(each.c.freed >= places))
    return WINDOW if found is None else found
