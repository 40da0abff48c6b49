"""Idempotent submission: repeated requests with the same key return the same benchmark or sweep."""

import hashlib
import json
from typing import Protocol, TypeVar
from uuid import UUID

import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import benchmarks, sweeps
from app.store.database.tables import BenchmarkRow, IdempotencyKeyRow, SweepRow
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.sweep import SweepRequest

Submitted = TypeVar("Submitted", BenchmarkRow, SweepRow)

#: Column of an idempotency key that refers to a submitted resource.
COLUMNS: dict[type, str] = {BenchmarkRow: "benchmark_id", SweepRow: "sweep_id"}


class KeyReused(Exception):
    """The idempotency key was used for another request."""


class Admission(Protocol):
    """The check of a caller's quota, with the caller's API key."""

    @property
    def owner_id(self) -> UUID | None:
        """ID of the caller's API key; None if none is required."""

    async def admit(self, count: int) -> UUID | None:
        """Counts new benchmarks against the quota. Raises when it is exceeded."""


async def submit_once(
    session: AsyncSession, request: BenchmarkRequest, key: str | None, admission: Admission
) -> BenchmarkRow:
    """Submits a benchmark, or returns the one submitted before with the key; key and benchmark commit together.

    Of concurrent requests with the same key, one submits and is counted, and the others wait for its commit.
    Raises KeyReused when the key was used for another request, and the admission's errors.
    """
    benchmark_id = uuid_utils.compat.uuid7()
    if key is not None:
        earlier = await _submitted_before(session, request, (admission.owner_id, key), BenchmarkRow, benchmark_id)
        if earlier is not None:
            return earlier
    api_key_id = await admission.admit(1)
    return await benchmarks.submit(session, request, benchmark_id=benchmark_id, api_key_id=api_key_id)


async def submit_sweep_once(
    session: AsyncSession, request: SweepRequest, key: str | None, admission: Admission
) -> SweepRow:
    """Submits a sweep in the way of `submit_once`. Raises KeyReused and the admission's errors."""
    sweep_id = uuid_utils.compat.uuid7()
    if key is not None:
        earlier = await _submitted_before(session, request, (admission.owner_id, key), SweepRow, sweep_id)
        if earlier is not None:
            return earlier
    api_key_id = await admission.admit(request.vary.count())
    return await sweeps.submit(session, request, sweep_id=sweep_id, api_key_id=api_key_id)


async def _submitted_before(
    session: AsyncSession,
    request: BenchmarkRequest | SweepRequest,
    owned_key: tuple[UUID | None, str],
    kind: type[Submitted],
    new_id: UUID,
) -> Submitted | None:
    """Returns what was submitted with the owner's key; registers a new key for `new_id` and returns None.

    Raises KeyReused when the key was used for another request.
    """
    identity, digest = (str(owned_key[0] or ""), owned_key[1]), _digest(request)
    while not await _is_first(session, identity, digest, {COLUMNS[kind]: new_id}):
        known = await session.get(IdempotencyKeyRow, identity)
        if known is None:  # deleted just now with its benchmark or sweep
            continue
        # Requests for benchmarks and for sweeps never have the same digest.
        if known.request_sha256 != digest:
            raise KeyReused
        earlier = await session.get(kind, known.benchmark_id or known.sweep_id)
        if earlier is not None:
            return earlier
    return None


def _digest(request: BenchmarkRequest | SweepRequest) -> bytes:
    """Hashes the fields that were sent, independent of their order; defaults may change in later releases."""
    sent = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).digest()


async def _is_first(session: AsyncSession, identity: tuple[str, str], digest: bytes, target: dict[str, UUID]) -> bool:
    values = {"owner": identity[0], "key": identity[1], "request_sha256": digest} | target
    statement = insert(IdempotencyKeyRow).values(values).on_conflict_do_nothing().returning(IdempotencyKeyRow.key)
    return (await session.execute(statement)).first() is not None
