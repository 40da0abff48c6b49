"""A worker's claim on a benchmark.

The ID of the attempt's queue entry is a fencing token: every write checks, under the row's lock, that the row still
has the token. A worker that resumes after a freeze finds another token or none, and stops.
"""

import gzip
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import benchmarks, events, webhooks, workers
from app.store.database.tables import BenchmarkRow, CompletedBlockRow
from app.store.history import totals
from app.store.history.forewarnings import precision_warnings
from app.store.workers import LEASE
from halftime.contract.event_data import (
    Cancelled,
    DeviceSick,
    EventData,
    HandedBack,
    Inspected,
    Started,
    Succeeded,
    TrialFailed,
)
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.kinds import LARGEST, shares_of_step
from halftime.contract.report.report import Comparison, Leg, Report
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.benchmark import LegSummary, Progress, Summary

HELD = ("running", "cancelling")

#: Length of the trials' standard error that is kept per benchmark.
LOG_CHARACTERS = 262_144


class ClaimLost(Exception):
    """The worker no longer holds the benchmark: its lease expired, or the benchmark was deleted."""


@dataclass(frozen=True)
class Claim:
    """The right to run a benchmark and write its results, while the lease lasts."""

    benchmark_id: UUID
    entry_id: int
    attempt: int
    request: BenchmarkRequest
    #: Trace context of the request that submitted it, if requests are traced.
    traceparent: str | None = None


async def take(
    session: AsyncSession, benchmark_id: UUID, entry_id: int, worker_id: str, gpu: str | None
) -> Claim | None:
    """Claims a queued benchmark; returns None if this queue entry is outdated.

    A worker that is draining or quarantined requeues it. A worker that did not receive the response to its claim can
    claim again. The warnings are replaced by those for this worker's device.
    """
    query = select(BenchmarkRow).where(
        BenchmarkRow.id == benchmark_id,
        BenchmarkRow.queue_entry_id == entry_id,
        or_(BenchmarkRow.status == "queued", BenchmarkRow.worker_id == worker_id),
    )
    row = (await session.scalars(query.with_for_update())).one_or_none()
    if row is None:
        return None
    if row.status in HELD:
        row.lease_expires_at = await benchmarks.now(session) + LEASE
        return Claim(row.id, entry_id, row.attempt, stored_request(row.request), row.traceparent)
    if row.status != "queued":
        return None
    if await workers.takes_none(session, worker_id):
        await benchmarks.requeue(session, row)
        return None
    row.status = "running"
    row.attempt += 1
    row.worker_id, row.worker_gpu = worker_id, gpu
    row.started_at = await benchmarks.now(session)
    row.lease_expires_at = row.started_at + LEASE
    request = stored_request(row.request)
    device = await workers.device_of(session, worker_id)
    row.warnings = precision_warnings(request, [device] if device else [])
    events.append(session, row, Started(attempt=row.attempt, worker=worker_id))
    await webhooks.notify(session, row, "started")
    waited_seconds = (row.started_at - row.queued_at).total_seconds()
    await totals.add(session, *totals.QUEUE_WAIT.observation(waited_seconds))
    return Claim(row.id, entry_id, row.attempt, request, row.traceparent)


async def renew(session: AsyncSession, claim: Claim, progress: Progress | None) -> bool:
    """Renews the lease and stores the progress. Returns False if the run was cancelled. Raises ClaimLost."""
    mine = update(BenchmarkRow).where(
        BenchmarkRow.id == claim.benchmark_id,
        BenchmarkRow.queue_entry_id == claim.entry_id,
        BenchmarkRow.status.in_(HELD),
        # An expired lease is not renewed, because the reaper may be about to act on it.
        BenchmarkRow.lease_expires_at > func.clock_timestamp(),
    )
    changes = {"progress": progress.model_dump(mode="json"), "version": BenchmarkRow.version + 1} if progress else {}
    result = await session.execute(
        mine.values(lease_expires_at=func.clock_timestamp() + LEASE, **changes).returning(BenchmarkRow.status)
    )
    status = result.scalar_one_or_none()
    if status is None:
        raise ClaimLost
    return status == "running"


async def record(session: AsyncSession, claim: Claim, data: EventData, logs: str) -> None:
    """Adds an event and the standard error of a trial. Raises ClaimLost."""
    row = await held(session, claim)
    events.append(session, row, data)
    if logs:
        await benchmarks.append_logs(session, row, logs, LOG_CHARACTERS)
    if isinstance(data, TrialFailed):
        await totals.add(session, totals.Count(totals.TRIAL_FAILURES, (str(data.code),)))


async def note_parameters(session: AsyncSession, claim: Claim, parameter_count: int, logs: str) -> None:
    """Stores the number of parameters that the worker counted. Raises ClaimLost."""
    await record(session, claim, Inspected(parameter_count=parameter_count), logs)
    row = await held(session, claim)
    row.parameter_count = parameter_count


def pack(report: Report) -> bytes:
    """Returns the report as gzipped JSON, as it is stored. Takes seconds for millions of samples."""
    return gzip.compress(report.model_dump_json().encode(), mtime=0)


async def succeed(session: AsyncSession, claim: Claim, report: Report, packed: bytes) -> bool:
    """Stores the packed report and ends the benchmark as succeeded.

    If it was cancelled meanwhile, ends it as cancelled and returns False. Raises ClaimLost.
    """
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
        return False
    row.report_gzip = packed
    row.summary = summarise(report).model_dump(mode="json")
    row.warnings = report.warnings
    if row.progress:
        ended = {"phase": "report", "step": row.progress["total_steps"], "fraction": 1.0, "eta_seconds": 0.0}
        row.progress = {**row.progress, **ended}
    await benchmarks.end(session, row, Succeeded())
    return True


async def fail(session: AsyncSession, claim: Claim, failure: Failure) -> None:
    """Ends the benchmark with a typed failure, or as cancelled if it was cancelled meanwhile. Raises ClaimLost."""
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
    else:
        await benchmarks.end_failed(session, row, failure)


async def requeue(session: AsyncSession, claim: Claim) -> None:
    """Requeues the benchmark of a worker that shuts down, without counting the attempt.

    A benchmark that a client cancelled is ended instead. Raises ClaimLost.
    """
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
        return
    row.attempt -= 1
    events.append(session, row, HandedBack(worker=row.holder))
    await benchmarks.requeue(session, row)


async def requeue_elsewhere(session: AsyncSession, claim: Claim, fault: str, max_attempts: int) -> None:
    """Requeues a benchmark whose worker's device is sick for another worker; fails it after its last attempt.

    The attempt is counted, because the benchmark may cause the same fault on another device. Its blocks are discarded,
    because the device may have been faulty for some time. Raises ClaimLost.
    """
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
        return
    events.append(session, row, DeviceSick(worker=row.holder, attempt=row.attempt, fault=fault))
    await session.execute(delete(CompletedBlockRow).where(CompletedBlockRow.benchmark_id == row.id))
    if row.attempt < max_attempts:
        await benchmarks.requeue(session, row)
        return
    detail = (
        f"In attempt {row.attempt} of {max_attempts}, the device of worker {row.worker_id} failed its health checks. "
        f"{fault}"
    )
    await benchmarks.end_failed(session, row, Failure.of(FailureCode.DEVICE_SICK, detail))


def summarise(report: Report) -> Summary:
    """Returns the figures of the first candidate, and the main figures of every leg."""
    first = report.comparisons[0]
    candidates = [comparison.candidate for comparison in report.comparisons]
    legs = [report.baseline, *candidates, *filter(None, [report.control])]
    trials = sum(len(leg.all_trials()) for leg in legs)
    return Summary(
        verdict=report.verdict,
        speedup=first.speedup,
        memory_reduction_percent=first.memory_reduction_percent,
        accuracy_difference=first.accuracy_difference,
        loss_difference=first.loss_difference,
        metric_differences=first.metric_differences,
        legs=[
            _leg_summary(report.baseline),
            *(_leg_summary(comparison.candidate, comparison) for comparison in report.comparisons),
        ],
        overhead_seconds_per_trial=report.overhead_seconds / trials if trials else None,
    )


def _leg_summary(leg: Leg, comparison: Comparison | None = None) -> LegSummary:
    return LegSummary(
        precision=leg.precision,
        samples_per_second=leg.samples_per_second,
        peak_memory_bytes=leg.peak_memory_bytes,
        verdict=comparison.verdict if comparison else None,
        speedup=comparison.speedup if comparison else None,
        memory_reduction_percent=comparison.memory_reduction_percent if comparison else None,
        achieved_flops_per_second=leg.achieved_flops_per_second,
        largest_kinds=shares_of_step(leg.time_by_kind)[:LARGEST],
    )


async def held(session: AsyncSession, claim: Claim) -> BenchmarkRow:
    """Locks and returns the benchmark's row at the start of every write. Raises ClaimLost if the claim is outdated."""
    query = select(BenchmarkRow).where(
        BenchmarkRow.id == claim.benchmark_id,
        BenchmarkRow.queue_entry_id == claim.entry_id,
        BenchmarkRow.status.in_(HELD),
    )
    row = (await session.scalars(query.with_for_update())).one_or_none()
    if row is None:
        raise ClaimLost
    return row
