"""Submits that may be repeated: a key names the request once, and the same benchmark or sweep ever after."""

import hashlib
from typing import Protocol
from uuid import UUID

import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.contract.request import BenchmarkRequest
from app.contract.sweep import SweepRequest
from app.store import benchmarks, sweeps
from app.store.tables import BenchmarkRow, IdempotencyKeyRow, SweepRow


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
        known = await _submitted_before(session, admission, key, request, benchmark_id=benchmark_id)
        if known is not None:
            return await session.get_one(BenchmarkRow, known.benchmark_id)
    api_key_id = await admission.admit(1)
    return await benchmarks.submit(session, request, benchmark_id=benchmark_id, api_key_id=api_key_id)


async def submit_sweep_once(
    session: AsyncSession, request: SweepRequest, key: str | None, admission: Admission
) -> SweepRow:
    """Submits a sweep as `submit_once` does a benchmark. Raises KeyReused, and what the admission raises."""
    sweep_id = uuid_utils.compat.uuid7()
    if key is not None:
        known = await _submitted_before(session, admission, key, request, sweep_id=sweep_id)
        if known is not None:
            return await session.get_one(SweepRow, known.sweep_id)
    api_key_id = await admission.admit(request.vary.count())
    return await sweeps.submit(session, request, sweep_id=sweep_id, api_key_id=api_key_id)


async def _submitted_before(
    session: AsyncSession, admission: Admission, key: str, request: BenchmarkRequest | SweepRequest, **made: UUID
) -> IdempotencyKeyRow | None:
    """What the key stands for; None where it is new, and from now on stands for what will be `made`."""
    owner, digest = str(admission.owner_id or ""), hashlib.sha256(request.model_dump_json().encode()).digest()
    values = {"owner": owner, "key": key, "request_sha256": digest} | made
    taken = insert(IdempotencyKeyRow).values(values).on_conflict_do_nothing().returning(IdempotencyKeyRow.key)
    if (await session.execute(taken)).first() is not None:
        return None
    known = await session.get_one(IdempotencyKeyRow, (owner, key))
    # A benchmark's request never reads as a sweep's: with the same digest it is the same kind.
    if known.request_sha256 != digest:
        raise KeyReused
    return known
