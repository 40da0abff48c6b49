"""API keys: made, looked up, revoked, and how much each submitted lately. Keys are never deleted."""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.contract.key import NewKey
from app.store import benchmarks
from app.store.tables import ApiKeyRow, BenchmarkRow

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


async def find(session: AsyncSession, key: str) -> ApiKeyRow | None:
    """The row of a key, revoked or not, and its use recorded. Looked up by hash: no timing tells of a near miss."""
    recorded = ApiKeyRow.last_used_at > func.now() - USE_RECORDED_EVERY
    query = select(ApiKeyRow, recorded).where(ApiKeyRow.sha256 == digest(key))
    row, recorded_lately = (await session.execute(query)).one_or_none() or (None, None)
    if row is not None and row.revoked_at is None and not recorded_lately:
        use = update(ApiKeyRow).where(ApiKeyRow.id == row.id, recorded.is_not(True))
        await session.execute(use.values(last_used_at=func.now()))
    return row


async def still_valid(session: AsyncSession, key_id: UUID | None) -> bool:
    """Whether a key, whose holder was let in before, is not revoked; whoever was let in without one may stay."""
    if key_id is None:
        return True
    return await session.scalar(select(ApiKeyRow.revoked_at.is_(None)).where(ApiKeyRow.id == key_id)) is True


async def submitted_lately(session: AsyncSession, key_id: UUID) -> int:
    """Benchmarks that a key submitted within the window that ends now; a deleted one no longer counts.

    Locks the key until the transaction ends, so that submits under one quota are counted one after the other.
    """
    # As weak as a lock against its like can be: what only refers to the key does not wait for it.
    await session.execute(select(ApiKeyRow.id).where(ApiKeyRow.id == key_id).with_for_update(key_share=True))
    return (await session.execute(select(func.count()).where(*_submitted_lately(key_id)))).scalar_one()


async def room_in(session: AsyncSession, key_id: UUID, places: int) -> timedelta:
    """Until the oldest `places` of a key's benchmarks have left the window; a whole window where there are fewer."""
    left = BenchmarkRow.created_at + WINDOW - func.now()
    query = select(left).where(*_submitted_lately(key_id)).order_by(BenchmarkRow.created_at)
    found: timedelta | None = await session.scalar(query.offset(places - 1).limit(1))
    return WINDOW if found is None else found


def _submitted_lately(key_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return BenchmarkRow.api_key_id == key_id, BenchmarkRow.created_at > func.now() - WINDOW
