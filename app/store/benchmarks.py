"""Benchmarks as clients see them: submit, read, list, cancel, delete."""

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
from app.store.database.tables import QUEUED, BenchmarkRow, CompletedBlockRow
from app.store.history import totals
from app.store.history.forewarnings import precision_warnings
from halftime.contract.event_data import Cancelled, Cancelling, Failed, Queued, Succeeded
from halftime.contract.models.naming import name_of
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import TERMINAL, QueuePlace, Status

NO_CUDA = (
    "The benchmark asks for device `cuda`, and no live worker has a CUDA device. Start `halftime worker` on a CUDA "
    "node, or ask for device `cpu` or `auto`."
)


#: A benchmark's id is of an API's clock, its time of creation of the database's. A list by time looks this far around.
CLOCKS_APART_SECONDS = 86_400


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to."""

    statuses: list[Status] = field(default_factory=list)
    labels: list[tuple[str, str]] = field(default_factory=list)
    model_kind: str | None = None
    device: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True)
class BenchmarkInQueue:
    """A benchmark without its report and logs, and where it stands in its queue."""

    row: BenchmarkRow
    place: QueuePlace


async def submit(
    session: AsyncSession,
    request: BenchmarkRequest,
    *,
    benchmark_id: UUID | None = None,
    api_key_id: UUID | None = None,
) -> BenchmarkRow:
    """Stores a benchmark and its queue entry in one transaction; without any CUDA a `cuda` job ends here."""
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
    """Gives the row a queue entry, whose id is the token of its next attempt.

    How long it may wait counts from when it came into the queue: one that never left it goes on waiting.
    """
    connection = await driver_connection(session)
    row.queue_entry_id = await queue.enqueue(connection, row.id, row.queue, row.priority, came_back=row.came_back)
    if row.status != "queued" or row.queued_at is None:
        row.queued_at = await now(session)
    row.status = "queued"
    row.worker_id = row.worker_gpu = row.lease_expires_at = row.progress = row.started_at = None


async def requeue(session: AsyncSession, row: BenchmarkRow) -> None:
    """The same for one that a worker had taken: it goes before those of its priority that none has."""
    row.came_back = True
    await enqueue(session, row)


async def get(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    """A benchmark without its report and logs."""
    return await session.get(BenchmarkRow, benchmark_id)


async def find(session: AsyncSession, benchmark_id: UUID) -> BenchmarkInQueue | None:
    """A benchmark among those queued with it, and who could take it; None for an unknown one."""
    found = (await session.execute(FOUND, {"id": benchmark_id})).one_or_none()
    if found is None:
        return None
    row, position, workers_online = found
    stuck = row.status == "queued" and not workers_online
    note = _unserved(row, await workers.quarantined(session, row.queue)) if stuck else None
    return BenchmarkInQueue(row, QueuePlace(position=position, workers_online=workers_online, note=note))


async def report_gzip(session: AsyncSession, benchmark_id: UUID) -> bytes | None:
    """The stored report: gzipped JSON."""
    return await session.scalar(select(BenchmarkRow.report_gzip).where(BenchmarkRow.id == benchmark_id))


async def logs(session: AsyncSession, benchmark_id: UUID) -> str | None:
    """What the trials wrote to standard error; None for an unknown benchmark."""
    return await session.scalar(select(BenchmarkRow.logs).where(BenchmarkRow.id == benchmark_id))


async def queued(session: AsyncSession, at_most: int) -> int:
    """Benchmarks that wait for a worker, counted up to `at_most`."""
    waiting = select(BenchmarkRow.id).where(BenchmarkRow.status == QUEUED).limit(at_most).subquery()
    return (await session.execute(select(func.count()).select_from(waiting))).scalar_one()


async def unfinished(session: AsyncSession) -> dict[Status, int]:
    """Benchmarks that have not ended, counted by status."""
    active = BenchmarkRow.status.in_(("queued", "running", "cancelling"))
    query = select(BenchmarkRow.status, func.count()).where(active).group_by(BenchmarkRow.status)
    return {cast("Status", status): count for status, count in await session.execute(query)}


async def latest(session: AsyncSession, limit: int) -> list[BenchmarkRow]:
    """The newest benchmarks, without their requests."""
    query = select(BenchmarkRow).options(defer(BenchmarkRow.request)).order_by(BenchmarkRow.id.desc()).limit(limit)
    return list(await session.scalars(query))


async def page(
    session: AsyncSession, filters: Filters, cursor: str | None, limit: int
) -> tuple[list[BenchmarkRow], str | None]:
    """Benchmarks newest first, and the cursor of the next page. Raises ValueError for a cursor that is none of ours."""
    # What a list does not show, it does not read: a request may be long.
    query = _filtered(filters).options(defer(BenchmarkRow.request)).order_by(BenchmarkRow.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(BenchmarkRow.id < _decode_cursor(cursor))
    rows = list(await session.scalars(query))
    return rows[:limit], _encode_cursor(rows[limit - 1].id) if len(rows) > limit else None


async def cancel(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    """Ends a queued benchmark at once and tells the worker of a running one to stop; otherwise changes nothing."""
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
    """Deletes a finished benchmark with its report and events. Returns its status, None for an unknown one."""
    row = await _locked(session, benchmark_id)
    if row is None:
        return None
    if row.status in TERMINAL:
        await session.execute(delete(BenchmarkRow).where(BenchmarkRow.id == benchmark_id))
    return cast("Status", row.status)


async def end(session: AsyncSession, row: BenchmarkRow, outcome: Succeeded | Failed | Cancelled) -> None:
    """Moves a benchmark to a terminal status, frees its lease, and lets go of its blocks."""
    row.status = outcome.kind
    row.finished_at = await now(session)
    row.lease_expires_at = None
    await session.execute(delete(CompletedBlockRow).where(CompletedBlockRow.benchmark_id == row.id))
    events.append(session, row, outcome)
    await webhooks.notify(session, row, outcome.kind)
    await totals.count_end(session, row)


async def end_failed(session: AsyncSession, row: BenchmarkRow, failure: Failure) -> None:
    """Ends a benchmark with a typed failure."""
    row.failure = failure.model_dump(mode="json")
    await end(session, row, Failed.of(failure))


async def now(session: AsyncSession) -> datetime:
    """The database's clock: the only one that every process shares."""
    read: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return read


async def append_logs(session: AsyncSession, row: BenchmarkRow, text: str, limit_characters: int) -> None:
    """Keeps the newest part of what the trials wrote."""
    await session.refresh(row, attribute_names=["logs"])
    row.logs = (row.logs + text.replace("\x00", ""))[-limit_characters:]


async def _locked(session: AsyncSession, benchmark_id: UUID) -> BenchmarkRow | None:
    query = select(BenchmarkRow).where(BenchmarkRow.id == benchmark_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


def _position() -> ColumnElement[int]:
    """Queued benchmarks that go first with the workers it need wait for least, itself included; 0 if not queued."""
    other = aliased(BenchmarkRow)
    sooner = _turn(other) <= _turn(BenchmarkRow)
    ahead = select(func.count().label("places")).where(other.status == QUEUED, sooner)
    takers = workers.queue_lists(BenchmarkRow.queue)
    taken = select(func.unnest(takers.c.queues)).correlate(takers)
    of_takers = ahead.where(other.queue.in_(taken)).correlate(BenchmarkRow, takers).lateral()
    least = select(func.min(of_takers.c.places)).select_from(takers.join(of_takers, true())).scalar_subquery()
    untaken = ahead.where(other.queue == BenchmarkRow.queue).scalar_subquery()
    return case((BenchmarkRow.status == "queued", func.coalesce(least, untaken)), else_=0)


def _turn(of: type[BenchmarkRow]) -> Tuple:
    """What the queue goes by: the smallest is next."""
    return tuple_(-of.priority, ~of.came_back, of.queue_entry_id)


def _unserved(row: BenchmarkRow, quarantined: int) -> str:
    """What kind of worker a benchmark waits for in vain, and how many of that kind are quarantined."""
    config = row.request["config"]
    named = f" with `{config['gpu']}` in its name" if config["gpu"] else ""
    sized = f" of {config['min_gpu_memory_gib']} GiB or more" if config["min_gpu_memory_gib"] else ""
    device = {"cpu": "a CPU", "auto": "any device"}.get(row.queue, f"a GPU{sized}{named}")
    sick = f"Quarantined with a sick device: {quarantined}. " if quarantined else ""
    return (
        f"No live worker takes benchmarks for {device}: it waits for one, {config['max_queue_seconds']:g} s at most. "
        f"{sick}`halftime workers` lists those there are."
    )


#: Every poll asks this, and to put it together anew would cost as much as to run it.
FOUND = select(BenchmarkRow, _position(), workers.serving(BenchmarkRow.queue)).where(BenchmarkRow.id == bindparam("id"))


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
        earliest = _id_at(filters.created_after.timestamp() - CLOCKS_APART_SECONDS)
        query = query.where(BenchmarkRow.created_at > filters.created_after, BenchmarkRow.id >= earliest)
    if filters.created_before:
        latest = _id_at(filters.created_before.timestamp() + CLOCKS_APART_SECONDS)
        query = query.where(BenchmarkRow.created_at < filters.created_before, BenchmarkRow.id <= latest)
    return query


def _id_at(epoch_seconds: float) -> UUID:
    """The smallest id that could be made then: ids are UUIDv7, which begin with the milliseconds since 1970."""
    return UUID(int=max(0, int(epoch_seconds * 1000)) << 80)


def _encode_cursor(last: UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def _decode_cursor(cursor: str) -> UUID:
    try:
        return UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("not a cursor") from error
