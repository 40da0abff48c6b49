"""Submits that may be repeated: a key names the request once, and the same benchmark or sweep ever after."""

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

Made = TypeVar("Made", BenchmarkRow, SweepRow)

#: Where a key says what it stands for.
COLUMNS: dict[type, str] = {BenchmarkRow: "benchmark_id", SweepRow: "sweep_id"}


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
        earlier = await _submitted_before(session, request, (admission.owner_id, key), BenchmarkRow, benchmark_id)
        if earlier is not None:
            return earlier
    api_key_id = await admission.admit(1)
    return await benchmarks.submit(session, request, benchmark_id=benchmark_id, api_key_id=api_key_id)


async def submit_sweep_once(
    session: AsyncSession, request: SweepRequest, key: str | None, admission: Admission
) -> SweepRow:
    """Submits a sweep as `submit_once` does a benchmark. Raises KeyReused, and what the admission raises."""
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
    kind: type[Made],
    new_id: UUID,
) -> Made | None:
    """What the owner's key has made; None where it is new, and from now on stands for `new_id`. Raises KeyReused."""
    identity, digest = (str(owned_key[0] or ""), owned_key[1]), _digest(request)
    while not await _is_first(session, identity, digest, {COLUMNS[kind]: new_id}):
        known = await session.get(IdempotencyKeyRow, identity)
        if known is None:  # what it stood for was deleted this moment
            continue
        # A benchmark's request never reads as a sweep's: with the same digest, what was made is of the same kind.
        if known.request_sha256 != digest:
            raise KeyReused
        earlier = await session.get(kind, known.benchmark_id or known.sweep_id)
        if earlier is not None:
            return earlier
    return None


def _digest(request: BenchmarkRequest | SweepRequest) -> bytes:
    """Of what was sent, in any order; without defaults, which a later release may add to."""
    said = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


async def _is_first(session: AsyncSession, identity: tuple[str, str], digest: bytes, made: dict[str, UUID]) -> bool:
    values = {"owner": identity[0], "key": identity[1], "request_sha256": digest} | made
    taken = insert(IdempotencyKeyRow).values(values).on_conflict_do_nothing().returning(IdempotencyKeyRow.key)
    return (await session.execute(taken)).first() is not None
