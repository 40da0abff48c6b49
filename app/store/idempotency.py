"""Submits that may be repeated: a key names the request once, and the same benchmark ever after."""

import hashlib
import json
from typing import Protocol
from uuid import UUID

import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.contract.request import BenchmarkRequest
from app.store import benchmarks
from app.store.tables import BenchmarkRow, IdempotencyKeyRow


class KeyReused(Exception):
    """The key stands for another request."""


class Admission(Protocol):
    """Lets new benchmarks in, and says whose they are."""

    @property
    def owner_id(self) -> UUID | None:
        """The API key of who asks; None where nobody needs one."""

    async def admit(self, count: int) -> UUID | None:
        """Raises where no more may be submitted."""


async def submit_once(
    session: AsyncSession, request: BenchmarkRequest, key: str | None, admission: Admission
) -> BenchmarkRow:
    """Submits, or finds what the owner's key has submitted before; key and benchmark commit together.

    Of many at once with the same key one submits, and the others wait for its commit; only that one is counted.
    Raises KeyReused, and what the admission raises.
    """
    benchmark_id = uuid_utils.compat.uuid7()
    if key is not None:
        owner, digest = str(admission.owner_id or ""), _digest(request)
        while not await _is_first(session, owner, key, digest, benchmark_id):
            earlier = await _submitted_before(session, owner, key, digest)
            if earlier is not None:
                return earlier
    api_key_id = await admission.admit(1)
    return await benchmarks.submit(session, request, benchmark_id=benchmark_id, api_key_id=api_key_id)


def _digest(request: BenchmarkRequest) -> bytes:
    """Of what was sent, in any order; without defaults, which a later release may add to."""
    said = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


async def _submitted_before(session: AsyncSession, owner: str, key: str, digest: bytes) -> BenchmarkRow | None:
    """The benchmark of the key; None if both were deleted this moment. Raises KeyReused."""
    known = await session.get(IdempotencyKeyRow, (owner, key))
    if known is None:
        return None
    if known.request_sha256 != digest:
        raise KeyReused
    return await session.get(BenchmarkRow, known.benchmark_id)


async def _is_first(session: AsyncSession, owner: str, key: str, digest: bytes, benchmark_id: UUID) -> bool:
    values = {"owner": owner, "key": key, "request_sha256": digest, "benchmark_id": benchmark_id}
    taken = insert(IdempotencyKeyRow).values(values).on_conflict_do_nothing().returning(IdempotencyKeyRow.key)
    return (await session.execute(taken)).first() is not None
