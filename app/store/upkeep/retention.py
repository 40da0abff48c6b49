"""Retention: raw samples, logs and traces are kept for half of the retention period, other data for all of it.

Of benchmarks, only finished ones are affected; workers are kept for a week. Safe in many processes at once: each locks
its rows and skips locked ones.
"""

import gzip
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID

import anyio.to_thread
import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import undefer

from app.store.database.tables import ACTIVE, BenchmarkRow, PurgedRow, SweepRow, TraceRow, WorkerRow
from halftime.contract.report.report import Report
from halftime.contract.resources.benchmark import TERMINAL

log = structlog.get_logger(__name__)

#: Rows purged in one transaction.
BATCH = 100

#: Rows whose report is rewritten in one transaction, which is idle meanwhile: a report may have megabytes.
SAMPLES_BATCH = 1

#: A worker without a heartbeat for this long is deleted; in containers, each new worker has a new name.
WORKERS_KEPT = timedelta(days=7)

#: Text that replaces the logs.
LOGS_DROPPED = "Dropped by retention (HALFTIME_RETENTION_DAYS).\n"

#: Processes one batch of rows of at least an age; returns their number.
Step = Callable[[AsyncSession, timedelta], Awaitable[int]]


async def apply(sessions: async_sessionmaker[AsyncSession], keep: timedelta) -> None:
    """Deletes benchmarks that ended longer ago than `keep`; drops raw samples, logs and traces after half."""
    purged = await _in_batches(sessions, _purge_benchmarks, keep)
    sweeps = await _in_batches(sessions, _purge_sweeps, keep)
    thinned = await _in_batches(sessions, _drop_samples, keep / 2)
    if purged or sweeps or thinned:
        log.info("retention applied", purged=purged, sweeps=sweeps, samples_dropped=thinned)


async def forget_workers(sessions: async_sessionmaker[AsyncSession]) -> None:
    """Deletes workers without a recent heartbeat; a worker that returns registers again.

    Drained workers are kept, because a restart must not undo that, and so are those that hold a benchmark.
    """
    holds = exists().where(BenchmarkRow.worker_id == WorkerRow.id, BenchmarkRow.status.in_(ACTIVE))
    silent = WorkerRow.last_heartbeat < func.now() - WORKERS_KEPT
    async with sessions.begin() as session:
        query = select(WorkerRow.id).where(silent, ~WorkerRow.draining, ~holds).order_by(WorkerRow.id)
        ids = (await session.scalars(query.with_for_update(skip_locked=True))).all()
        await session.execute(delete(WorkerRow).where(WorkerRow.id.in_(ids)))
    if ids:
        log.info("workers deleted", workers=sorted(ids), silent_days=WORKERS_KEPT.days)


async def was_purged(session: AsyncSession, row_id: UUID) -> bool:
    """Whether retention deleted the benchmark or sweep with this ID."""
    return await session.get(PurgedRow, row_id) is not None


async def _in_batches(sessions: async_sessionmaker[AsyncSession], step: Step, age: timedelta) -> int:
    """Repeats a step, each time in its own transaction, until it finds no rows. Returns the number of rows."""
    total = 0
    while True:
        async with sessions.begin() as session:
            taken = await step(session, age)
        if not taken:
            return total
        total += taken


async def _purge_benchmarks(session: AsyncSession, age: timedelta) -> int:
    """Deletes benchmarks with their reports, traces, events, logs and deliveries."""
    query = select(BenchmarkRow.id).where(_ended_before(age)).order_by(BenchmarkRow.finished_at).limit(BATCH)
    ids = (await session.scalars(query.with_for_update(skip_locked=True))).all()
    await session.execute(delete(BenchmarkRow).where(BenchmarkRow.id.in_(ids)))
    return _add_tombstones(session, ids)


async def _purge_sweeps(session: AsyncSession, age: timedelta) -> int:
    """Deletes sweeps of which no benchmark is left."""
    has_benchmarks = exists().where(BenchmarkRow.sweep_id == SweepRow.id)
    query = select(SweepRow.id).where(SweepRow.created_at < func.now() - age, ~has_benchmarks).limit(BATCH)
    ids = (await session.scalars(query.with_for_update(skip_locked=True))).all()
    await session.execute(delete(SweepRow).where(SweepRow.id.in_(ids)))
    return _add_tombstones(session, ids)


async def _drop_samples(session: AsyncSession, age: timedelta) -> int:
    query = (
        select(BenchmarkRow)
        .options(undefer(BenchmarkRow.report_gzip), undefer(BenchmarkRow.logs))
        .where(_ended_before(age), ~BenchmarkRow.samples_dropped)
        .order_by(BenchmarkRow.finished_at)
        .limit(SAMPLES_BATCH)
    )
    rows = (await session.scalars(query.with_for_update(skip_locked=True))).all()
    for row in rows:
        if row.report_gzip is not None:
            row.report_gzip = await anyio.to_thread.run_sync(_without_samples, row.report_gzip)
        await session.execute(delete(TraceRow).where(TraceRow.benchmark_id == row.id))
        row.logs = LOGS_DROPPED if row.logs else ""
        row.samples_dropped = True
    return len(rows)


def _ended_before(age: timedelta) -> ColumnElement[bool]:
    return and_(BenchmarkRow.status.in_(TERMINAL), BenchmarkRow.finished_at < func.now() - age)


def _add_tombstones(session: AsyncSession, ids: Sequence[UUID]) -> int:
    """Adds a tombstone for each ID. Returns their number."""
    session.add_all([PurgedRow(id=row_id) for row_id in ids])
    return len(ids)


def _without_samples(report_gzip: bytes) -> bytes:
    """Removes the raw samples; returns an unreadable report unchanged, so that it does not block those after it."""
    try:
        report = Report.model_validate_json(gzip.decompress(report_gzip), extra="ignore")
    except ValidationError as error:
        log.error("an unreadable report keeps its samples", faults=error.error_count())
        return report_gzip
    return gzip.compress(report.without_samples().model_dump_json().encode(), mtime=0)
