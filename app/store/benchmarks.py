"""Operations on benchmarks: submit, read, list, cancel, delete."""

import base64
import binascii
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast
from uuid import UUID

import uuid_utils.compat
from sqlalchemy import ColumnElement, Select, Tuple, bindparam, case, delete, func, select, true, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, defer

from app.observability import tracing
from app.store import events, queue, webhooks, workers
from app.store.database.connection import driver_connection
from app.store.database.tables import QUEUED, BenchmarkRow, CompletedBlockRow, TraceRow
from app.store.history import totals
from app.store.history.forewarnings import precision_warnings
from halftime.contract.event_data import Cancelled, Cancelling, Failed, Queued, Succeeded
from halftime.contract.models.naming import name_of
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import TERMINAL, QueuePlace, Status

NO_CUDA = (
    "The benchmark requires the device `cuda`, and no live worker has a CUDA device. Start `halftime worker` on a CUDA "
    "node, or request the device `cpu` or `auto`."
)


#: Largest assumed difference between the API's clock, which makes IDs, and the database's, which sets creation times.
CLOCK_SKEW_SECONDS = 86_400


@dataclass(frozen=True)
class Filters:
    """Conditions that listed benchmarks must meet."""

    statuses: list[Status] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    model_kind: str | None = None
    device: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class BenchmarkInQueue:
    """A benchmark without its report and logs, and its position in the queue."""

    row: BenchmarkRow
    place: QueuePlace


async def submit(
    session: AsyncSession,
    request: BenchmarkRequest,
    *,
    benchmark_id: UUID | None = None,
    api_key_id: UUID | None = None,
) -> BenchmarkRow:
    """Stores a benchmark and its queue entry in one transaction; fails it if it needs CUDA and no worker has it."""
    fleet = await workers.fleet(session)
    queue_name = queue.queue_of(request.config, cuda_seen=fleet.cuda_seen)
    row = BenchmarkRow(
        id=benchmark_id or uuid_utils.compat.uuid7(),
        status="queued",
        request=request.model_dump(mode="json"),
        parameter_count=request.model.parameter_count(),
        api_key_id=api_key_id,
        labels=request.labels,
        model_kind=request.model.kind,
        model_name=name_of(request.model),
        device=request.config.device,
        priority=request.priority,
        queue=queue_name,
        came_back=False,
        attempt=0,
        warnings=precision_warnings(request, await workers.serving_devices(session, queue_name)),
        last_event=0,
        logs="",
        traceparent=tracing.traceparent(),
    )
    session.add(row)
    await session.flush()
    events.append(session, row, Queued(queue=row.queue))
    if request.config.device == "cuda" and fleet.lacks_cuda:
        await end_failed(session, row, Failure.of(FailureCode.CUDA_UNAVAILABLE, NO_CUDA))
    else:
        await enqueue(session, row)
    await session.flush()
    await session.refresh(row)
    return row


async def enqueue(session: AsyncSession, row: BenchmarkRow) -> None:
    """Creates a queue entry for the row; the entry's ID is the token of its next attempt.

    The waiting time counts from when the benchmark entered the queue; it is not reset while it stays queued.
    """
    connection = await driver_connection(session)
    row.queue_entry_id = await queue.enqueue(connection, row.id, row.queue, row.priority, came_back=row.came_back)
    if row.status != "queued" or row.queued_at is None:
        row.queued_at = await now(session)
    row.status = "queued"
    row.worker_id = row.worker_gpu = row.lease_expires_at = row.progress = row.started_at = None


async def requeue(session: AsyncSession, row: BenchmarkRow) -> None:
    """Enqueues a benchmark that a worker had claimed, ahead of others with its priority."""
    row.came_back = True
    await enqueue(session, row)


async def get(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    """Returns a benchmark without its report and logs; None for an unknown ID."""
    return await session.get(BenchmarkRow, benchmark_id)


async def find(session: AsyncSession, benchmark_id: UUID) -> BenchmarkInQueue | None:
    """Returns a benchmark with its position and the number of suitable workers; None for an unknown ID."""
    result = (await session.execute(BENCHMARK_IN_QUEUE, {"id": benchmark_id})).one_or_none()
    if result is None:
        return None
    row, position, workers_online = result
    is_stuck = row.status == "queued" and not workers_online
    note = _missing_worker(row, await workers.quarantined(session, row.queue)) if is_stuck else None
    return BenchmarkInQueue(row, QueuePlace(position=position, workers_online=workers_online, note=note))


async def report_gzip(session: AsyncSession, benchmark_id: UUID) -> bytes | None:
    """Returns the stored report as gzipped JSON; None without a report."""
    return await session.scalar(select(BenchmarkRow.report_gzip).where(BenchmarkRow.id == benchmark_id))


async def logs(session: AsyncSession, benchmark_id: UUID) -> str | None:
    """Returns the standard error of the trials; None for an unknown benchmark."""
    return await session.scalar(select(BenchmarkRow.logs).where(BenchmarkRow.id == benchmark_id))


async def queued(session: AsyncSession, at_most: int) -> int:
    """Counts the benchmarks waiting for a worker, up to `at_most`."""
    waiting = select(BenchmarkRow.id).where(BenchmarkRow.status == QUEUED).limit(at_most).subquery()
    return (await session.execute(select(func.count()).select_from(waiting))).scalar_one()


async def unfinished(session: AsyncSession) -> dict[Status, int]:
    """Counts the benchmarks that have not ended, by status."""
    active = BenchmarkRow.status.in_(("queued", "running", "cancelling"))
    query = select(BenchmarkRow.status, func.count()).where(active).group_by(BenchmarkRow.status)
    return {cast("Status", status): count for status, count in await session.execute(query)}


async def latest(session: AsyncSession, limit: int) -> list[BenchmarkRow]:
    """Returns the newest benchmarks, without their requests."""
    query = select(BenchmarkRow).options(defer(BenchmarkRow.request)).order_by(BenchmarkRow.id.desc()).limit(limit)
    return list(await session.scalars(query))


async def page(
    session: AsyncSession, filters: Filters, cursor: str | None, limit: int
) -> tuple[list[BenchmarkRow], str | None]:
    """Returns benchmarks newest first, and the cursor of the next page. Raises ValueError for an invalid cursor."""
    # Requests are not read, because they may be long and lists do not show them.
    query = _filtered(filters).options(defer(BenchmarkRow.request)).order_by(BenchmarkRow.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(BenchmarkRow.id < _decode_cursor(cursor))
    rows = list(await session.scalars(query))
    return rows[:limit], _encode_cursor(rows[limit - 1].id) if len(rows) > limit else None


async def cancel(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    """Ends a queued benchmark immediately, or asks the worker of a running one to stop; else changes nothing.

    Returns None for an unknown benchmark.
    """
    row = await _locked(session, benchmark_id)
    if row is None or row.status in TERMINAL or row.status == "cancelling":
        return row
    if row.queue_entry_id is not None:
        await queue.abort(await driver_connection(session), row.queue_entry_id)
    if row.status == "queued":
        await end(session, row, Cancelled())
    else:
        row.status = "cancelling"
        events.append(session, row, Cancelling())
    return row


async def remove(session: AsyncSession, benchmark_id: UUID) -> Status | None:
    """Deletes a finished benchmark with its report, traces and events. Returns its status; None for an unknown one."""
    row = await _locked(session, benchmark_id)
    if row is None:
        return None
    if row.status in TERMINAL:
        await session.execute(delete(BenchmarkRow).where(BenchmarkRow.id == benchmark_id))
    return cast("Status", row.status)


async def end(session: AsyncSession, row: BenchmarkRow, outcome: Succeeded | Failed | Cancelled) -> None:
    """Moves a benchmark to a terminal status, ends its lease, and deletes its blocks; without a report, its traces."""
    row.status = outcome.kind
    row.finished_at = await now(session)
    row.lease_expires_at = None
    await session.execute(delete(CompletedBlockRow).where(CompletedBlockRow.benchmark_id == row.id))
    if outcome.kind != "succeeded":
        await session.execute(delete(TraceRow).where(TraceRow.benchmark_id == row.id))
    events.append(session, row, outcome)
    await webhooks.notify(session, row, outcome.kind)
    await totals.count_end(session, row)


async def end_failed(session: AsyncSession, row: BenchmarkRow, failure: Failure) -> None:
    """Ends a benchmark with a typed failure."""
    row.failure = failure.model_dump(mode="json")
    await end(session, row, Failed.of(failure))


async def now(session: AsyncSession) -> datetime:
    """Returns the time of the database's clock, the only one that all processes share."""
    timestamp: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return timestamp


async def append_logs(session: AsyncSession, row: BenchmarkRow, text: str, limit_characters: int) -> None:
    """Appends output of a trial and keeps the newest `limit_characters`."""
    await session.refresh(row, attribute_names=["logs"])
    row.logs = (row.logs + text.replace("\x00", ""))[-limit_characters:]


async def _locked(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    query = select(BenchmarkRow).where(BenchmarkRow.id == benchmark_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


def _position() -> ColumnElement[int]:
    """Returns the expression for a benchmark's position, the smallest over its suitable workers; 0 if not queued."""
    other = aliased(BenchmarkRow)
    sooner = _turn(other) <= _turn(BenchmarkRow)
    ahead = select(func.count().label("places")).where(other.status == QUEUED, sooner)
    takers = workers.queue_lists(BenchmarkRow.queue)
    taken = select(func.unnest(takers.c.queues)).correlate(takers)
    of_takers = ahead.where(other.queue.in_(taken)).correlate(BenchmarkRow, takers).lateral()
    least = select(func.min(of_takers.c.places)).select_from(takers.join(of_takers, true())).scalar_subquery()
    untaken = ahead.where(other.queue == BenchmarkRow.queue).scalar_subquery()
    return case((BenchmarkRow.status == "queued", func.coalesce(least, untaken)), else_=0)


def _turn(table: type[BenchmarkRow]) -> Tuple:
    """Returns the sort key of the queue: the smallest is next."""
    return tuple_(-table.priority, ~table.came_back, table.queue_entry_id)


def _missing_worker(row: BenchmarkRow, quarantined: int) -> str:
    """Describes the kind of worker that a benchmark waits for, and how many of that kind are quarantined."""
    config = row.request["config"]
    name = f" with `{config['gpu']}` in its name" if config["gpu"] else ""
    memory = f" of {config['min_gpu_memory_gib']} GiB or more" if config["min_gpu_memory_gib"] else ""
    device = {"cpu": "a CPU", "auto": "any device"}.get(row.queue, f"a GPU{memory}{name}")
    sick = f"Quarantined with a sick device: {quarantined}. " if quarantined else ""
    return (
        f"No live worker runs benchmarks for {device}. The benchmark waits at most {config['max_queue_seconds']:g} s. "
        f"{sick}List the workers with `halftime workers`."
    )


#: Built once, because every poll runs it and building it takes as long as running it.
BENCHMARK_IN_QUEUE = select(BenchmarkRow, _position(), workers.serving(BenchmarkRow.queue)).where(
    BenchmarkRow.id == bindparam("id")
)


def _filtered(filters: Filters) -> Select[BenchmarkRow]:
    query = select(BenchmarkRow)
    if filters.statuses:
        query = query.where(BenchmarkRow.status.in_(filters.statuses))
    for key, value in filters.labels:
        query = query.where(BenchmarkRow.labels.contains({key: value}))
    if filters.model_kind:
        query = query.where(BenchmarkRow.model_kind == filters.model_kind)
    if filters.device:
        query = query.where(BenchmarkRow.device == filters.device)
    if filters.created_after:
        earliest = _id_at(filters.created_after.timestamp() - CLOCK_SKEW_SECONDS)
        query = query.where(BenchmarkRow.created_at > filters.created_after, BenchmarkRow.id >= earliest)
    if filters.created_before:
        latest = _id_at(filters.created_before.timestamp() + CLOCK_SKEW_SECONDS)
        query = query.where(BenchmarkRow.created_at < filters.created_before, BenchmarkRow.id <= latest)
    return query


def _id_at(epoch_seconds: float) -> UUID:
    """Returns the smallest ID of a time: IDs are UUIDv7, which begin with the milliseconds since 1970."""
    return UUID(int=max(0, int(epoch_seconds * 1000)) << 80)


def _encode_cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _decode_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("invalid cursor") from error
