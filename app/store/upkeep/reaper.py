"""The reaper: requeues or ends benchmarks that were lost by their worker or queue. Safe in many processes at once."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Text, Uuid, cast, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import InstrumentedAttribute

from app.store import benchmarks, events, queue, workers
from app.store.database.connection import driver_connection
from app.store.database.tables import (
    ENTRIES,
    ENTRY_EVENTS,
    QUEUE_WORKERS,
    QUEUED,
    BenchmarkRow,
    ReaperTurnRow,
    WorkerRow,
)
from app.store.workers import LEASE
from halftime.contract.event_data import Cancelled, WorkerLost
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import stored_request

log = structlog.get_logger(__name__)

#: Rows processed in one transaction.
BATCH = 100

#: The queue's own criterion for a dead worker: three missed heartbeats.
QUEUE_WORKER_SILENCE = timedelta(seconds=30)

#: Interval between rounds, and between the checks of each process whether a round is due.
PERIOD_SECONDS = 3.0


async def run_if_due(sessions: async_sessionmaker[AsyncSession], max_attempts: int) -> bool:
    """Runs a round if none has begun within a period. Returns whether it did.

    A round reads all waiting benchmarks, so only one process of the fleet runs it. The turn is taken in a statement
    that commits by itself: a process that freezes or dies in a round does not block later rounds.
    """
    now = func.clock_timestamp()
    due = ~ReaperTurnRow.began_at.between(now - timedelta(seconds=PERIOD_SECONDS), now)
    async with sessions() as session:
        await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        taken = await session.scalar(update(ReaperTurnRow).where(due).values(began_at=now).returning(ReaperTurnRow.id))
    if taken is None:
        return False
    await run_round(sessions, max_attempts)
    return True


async def run_round(sessions: async_sessionmaker[AsyncSession], max_attempts: int) -> None:
    """Runs one round: expired leases, lost entries, expired waits, benchmarks that need missing CUDA, dead entries.

    Each step has its own transaction, because benchmarks that end are counted under a lock that others wait for.
    """
    steps = (partial(_expired_leases, max_attempts), _lost_entries, _expired_waits, _without_cuda, _dead_entries)
    for step in steps:
        async with sessions.begin() as session:
            await step(session)


async def _expired_leases(max_attempts: int, session: AsyncSession) -> None:
    """Requeues benchmarks whose worker died or froze, or fails them after their last attempt."""
    expired = BenchmarkRow.lease_expires_at < func.clock_timestamp()
    # In the order of the partial index of leases, which has only running benchmarks; another order would scan all rows.
    for row in await _take(session, expired, first=BenchmarkRow.lease_expires_at):
        log.warning("lease expired", benchmark=str(row.id), worker=row.worker_id, attempt=row.attempt)
        await _discard_entry(session, row)
        events.append(session, row, WorkerLost(worker=row.holder, attempt=row.attempt))
        if row.status == "cancelling":
            await benchmarks.end(session, row, Cancelled())
        elif row.attempt >= max_attempts:
            detail = f"Worker {row.worker_id} disappeared in attempt {row.attempt} of {max_attempts}; see its log."
            await benchmarks.end_failed(session, row, Failure.of(FailureCode.WORKER_LOST, detail))
        else:
            await benchmarks.requeue(session, row)


async def _lost_entries(session: AsyncSession) -> None:
    """Requeues benchmarks whose queue entry is missing, or was fetched by a worker that died before claiming."""
    waits = exists().where(ENTRIES.c.id == BenchmarkRow.queue_entry_id, cast(ENTRIES.c.status, Text) == "todo")
    fetched_lately = exists().where(
        ENTRY_EVENTS.c.job_id == BenchmarkRow.queue_entry_id,
        cast(ENTRY_EVENTS.c.type, Text) == "started",
        ENTRY_EVENTS.c.at > func.clock_timestamp() - LEASE,
    )
    settled = BenchmarkRow.queued_at < func.clock_timestamp() - LEASE
    for row in await _take(session, BenchmarkRow.status == QUEUED, settled, ~waits, ~fetched_lately):
        log.warning("lost queue entry replaced", benchmark=str(row.id), entry=row.queue_entry_id)
        await _discard_entry(session, row)
        await benchmarks.requeue(session, row)


async def _expired_waits(session: AsyncSession) -> None:
    """Fails benchmarks that no worker claimed within `max_queue_seconds`."""
    longest = BenchmarkRow.request["config"]["max_queue_seconds"].as_float()
    waited = func.extract("epoch", func.clock_timestamp() - BenchmarkRow.queued_at)
    for row in await _take(session, BenchmarkRow.status == QUEUED, waited > longest):
        await _discard_entry(session, row)
        detail = "No worker claimed the benchmark within max_queue_seconds. List the workers with `halftime workers`."
        await benchmarks.end_failed(session, row, Failure.of(FailureCode.QUEUE_EXPIRED, detail))


async def _without_cuda(session: AsyncSession) -> None:
    """If the fleet has lost its CUDA workers, fails `cuda` benchmarks and requeues `auto` ones for a CPU."""
    if not (await workers.fleet(session)).lacks_cuda:
        return
    for row in await _take(session, BenchmarkRow.status == QUEUED, BenchmarkRow.queue.startswith("cuda")):
        await _discard_entry(session, row)
        if row.device == "auto":
            config = stored_request(row.request).config
            row.queue = queue.queue_of(config, cuda_seen=False)
            await benchmarks.enqueue(session, row)
        else:
            failure = Failure.of(FailureCode.CUDA_UNAVAILABLE, benchmarks.NO_CUDA)
            await benchmarks.end_failed(session, row, failure)


async def _dead_entries(session: AsyncSession) -> None:
    """Removes entries of benchmarks that have ended without the queue being notified.

    The worker died, or its connection broke at that moment; nothing else would remove the entry.
    """
    lives = exists().where(
        QUEUE_WORKERS.c.id == ENTRIES.c.worker_id,
        QUEUE_WORKERS.c.last_heartbeat > func.clock_timestamp() - QUEUE_WORKER_SILENCE,
    )
    benchmark_id = cast(ENTRIES.c.args["benchmark_id"].astext, Uuid)
    ended_long_ago = exists().where(
        ENTRIES.c.task_name == queue.RUN_BENCHMARK,
        BenchmarkRow.id == benchmark_id,
        BenchmarkRow.finished_at < func.clock_timestamp() - QUEUE_WORKER_SILENCE,
        ~exists().where(WorkerRow.current_benchmark == BenchmarkRow.id),  # it may be exporting the report to trackers
    )
    is_token = exists().where(
        BenchmarkRow.id == benchmark_id,
        BenchmarkRow.queue_entry_id == ENTRIES.c.id,
        BenchmarkRow.finished_at.is_(None),
    )
    is_dead = or_(~lives & ~is_token, ended_long_ago)
    dead = select(ENTRIES.c.id).where(cast(ENTRIES.c.status, Text) == "doing", is_dead)
    locked = dead.limit(BATCH).with_for_update(skip_locked=True)
    removed = await session.execute(delete(ENTRIES).where(ENTRIES.c.id.in_(locked)).returning(ENTRIES.c.id))
    for (entry,) in removed:
        log.warning("dead queue entry removed", entry=entry)


async def _take(
    session: AsyncSession, *where: ColumnElement[bool], first: InstrumentedAttribute[Any] = BenchmarkRow.id
) -> Sequence[BenchmarkRow]:
    """Locks and returns rows that no other process has locked."""
    query = select(BenchmarkRow).where(*where).order_by(first).limit(BATCH)
    return (await session.scalars(query.with_for_update(skip_locked=True))).all()


async def _discard_entry(session: AsyncSession, row: BenchmarkRow) -> None:
    if row.queue_entry_id is not None:
        await queue.discard(await driver_connection(session), row.queue_entry_id)
        row.queue_entry_id = None
