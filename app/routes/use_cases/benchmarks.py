"""Benchmarks: submit, preview, read, rerun, cancel, delete."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.routes.use_cases.idempotency import key_reuse_as_api_error
from app.routes.use_cases.limits import check_allowed
from app.routes.use_cases.not_found import UNKNOWN, not_found
from app.routes.use_cases.quota import Admission
from app.settings import Settings
from app.store import benchmarks, idempotency
from app.store.benchmarks import BenchmarkInQueue
from app.store.database.tables import BenchmarkRow
from app.store.history import costs
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.benchmark import TERMINAL
from halftime.contract.resources.cost import Preview


async def submit(
    session: AsyncSession,
    request: BenchmarkRequest,
    settings: Settings,
    admission: Admission,
    idempotency_key: str | None = None,
) -> BenchmarkRow:
    """Stores and enqueues a benchmark; a repeated idempotency key returns the benchmark that it created before.

    Raises TooManyParameters, WebhookRefused, IdempotencyKeyReused, QueueFull, QuotaExceeded.
    """
    check_allowed(request, settings)
    with key_reuse_as_api_error():
        async with session.begin():
            return await idempotency.submit_once(session, request, idempotency_key, admission)


async def preview(session: AsyncSession, request: BenchmarkRequest, settings: Settings) -> Preview:
    """Returns what a request would run and cost; stores nothing. Raises TooManyParameters, WebhookRefused."""
    check_allowed(request, settings)
    return await costs.preview(session, request)


async def get(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow:
    """Returns a benchmark without its report and logs. Raises NotFound, Purged."""
    row = await benchmarks.get(session, benchmark_id)
    if row is None:
        raise await not_found(session, benchmark_id)
    return row


async def find(session: AsyncSession, benchmark_id: UUID) -> BenchmarkInQueue:
    """Returns a benchmark with its place in the queue. Raises NotFound, Purged."""
    queued = await benchmarks.find(session, benchmark_id)
    if queued is None:
        raise await not_found(session, benchmark_id)
    return queued


async def rerun(session: AsyncSession, benchmark_id: UUID, settings: Settings, admission: Admission) -> BenchmarkRow:
    """Submits the request of an earlier benchmark as a new one, under the current limits.

    Raises NotFound, Purged, TooManyParameters, WebhookRefused, QueueFull, QuotaExceeded.
    """
    async with session.begin():
        earlier = await get(session, benchmark_id)
        request = stored_request(earlier.request)
        check_allowed(request, settings)
        return await benchmarks.submit(session, request, api_key_id=await admission.admit(1))


async def cancel(session: AsyncSession, benchmark_id: UUID) -> None:
    """Cancels a queued benchmark, or tells the worker of a running one to stop. Raises NotFound, AlreadyFinished."""
    async with session.begin():
        row = await benchmarks.cancel(session, benchmark_id)
    if row is None:
        raise errors.NotFound(UNKNOWN)
    if row.status in {"succeeded", "failed"}:
        raise errors.AlreadyFinished(f"The benchmark has already {row.status}, so it can no longer be cancelled.")


async def delete(session: AsyncSession, benchmark_id: UUID) -> None:
    """Deletes a finished benchmark with its report, traces, events and logs. Raises NotFound, StillRunning."""
    async with session.begin():
        status = await benchmarks.remove(session, benchmark_id)
    if status is None:
        raise errors.NotFound(UNKNOWN)
    if status not in TERMINAL:
        raise errors.StillRunning(f"The benchmark is {status}. Cancel it first, or wait until it ends.")
