"""Sweeps: submit and read."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.routes.use_cases.idempotency import key_reuse_as_api_error
from app.routes.use_cases.limits import check_allowed
from app.routes.use_cases.not_found import not_found
from app.routes.use_cases.quota import Admission
from app.settings import Settings
from app.store import idempotency, sweeps
from app.store.resources import to_sweep
from halftime.contract.resources.sweep import Sweep, SweepRequest

UNKNOWN_SWEEP = "No sweep has this id. Check the id."


async def submit(
    session: AsyncSession, request: SweepRequest, settings: Settings, admission: Admission, idempotency_key: str | None
) -> Sweep:
    """Stores and enqueues all benchmarks of a sweep; a repeated idempotency key returns the sweep it created before.

    Raises TooManyParameters, WebhookRefused, IdempotencyKeyReused, QueueFull, QuotaExceeded.
    """
    for one in request.benchmarks():
        check_allowed(one, settings)
    with key_reuse_as_api_error():
        async with session.begin():
            row = await idempotency.submit_sweep_once(session, request, idempotency_key, admission)
    return await get(session, row.id)


async def get(session: AsyncSession, sweep_id: UUID) -> Sweep:
    """Returns a sweep with its table. Raises NotFound, Purged."""
    result = await sweeps.get(session, sweep_id)
    if result is None:
        raise await not_found(session, sweep_id, UNKNOWN_SWEEP)
    return to_sweep(*result)
