"""A worker's hold on a benchmark.

The id of the attempt's queue entry is the token: every write checks, under the row's lock, that the token still
stands on the row. A worker that was frozen and wakes finds another token there, or none, and stops.
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
from halftime.contract.report.report import Comparison, Leg, Report
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.benchmark import LegSummary, Progress, Summary

HELD = ("running", "cancelling")

#: Standard error of the trials kept per benchmark.
LOG_CHARACTERS = 262_144


class ClaimLost(Exception):
    """The benchmark is no longer this worker's: its lease ran out, or it was deleted."""


@dataclass(frozen=True)
class Claim:
    """A benchmark that this worker may run and write to, while the claim holds."""

    benchmark_id: UUID
    entry_id: int
    attempt: int
    request: BenchmarkRequest
    #: Of the request that submitted it, where requests are traced.
    traceparent: str | None = None


async def take(
    session: AsyncSession, benchmark_id: UUID, entry_id: int, worker_id: str, gpu: str | None
) -> Claim | None:
    """Claims a queued benchmark; None if this entry is no longer the one that counts.

    A worker that is draining or quarantined puts it back. One that never heard the answer to its claim claims again.
    Of what the fleet emulates or lacks, the warnings from now on tell what this worker's device does.
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
    """Prolongs the lease and shows how far the run is; whether the run is still wanted. Raises ClaimLost."""
    mine = update(BenchmarkRow).where(
        BenchmarkRow.id == claim.benchmark_id,
        BenchmarkRow.queue_entry_id == claim.entry_id,
        BenchmarkRow.status.in_(HELD),
        # What has run out stays so: the reaper may be about to act on it.
        BenchmarkRow.lease_expires_at > func.clock_timestamp(),
    )
    shown = {"progress": progress.model_dump(mode="json"), "version": BenchmarkRow.version + 1} if progress else {}
    result = await session.execute(
        mine.values(lease_expires_at=func.clock_timestamp() + LEASE, **shown).returning(BenchmarkRow.status)
    )
    status = result.scalar_one_or_none()
    if status is None:
        raise ClaimLost
    return status == "running"


async def record(session: AsyncSession, claim: Claim, data: EventData, logs: str) -> None:
    """Adds an event and what a trial wrote to standard error. Raises ClaimLost."""
    row = await held(session, claim)
    events.append(session, row, data)
    if logs:
        await benchmarks.append_logs(session, row, logs, LOG_CHARACTERS)
    if isinstance(data, TrialFailed):
        await totals.add(session, totals.Count(totals.TRIAL_FAILURES, (str(data.code),)))


async def note_parameters(session: AsyncSession, claim: Claim, parameter_count: int, logs: str) -> None:
    """Keeps the number of parameters that the worker counted. Raises ClaimLost."""
    await record(session, claim, Inspected(parameter_count=parameter_count), logs)
    row = await held(session, claim)
    row.parameter_count = parameter_count


def pack(report: Report) -> bytes:
    """The report as it is stored: gzipped JSON. Of millions of samples it takes seconds."""
    return gzip.compress(report.model_dump_json().encode(), mtime=0)


async def succeed(session: AsyncSession, claim: Claim, report: Report, packed: bytes) -> bool:
    """Stores the report, packed before, and ends the benchmark.

    As cancelled, if that was asked for meanwhile: then it is False. Raises ClaimLost.
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
    """Ends the benchmark with a typed failure; as cancelled, if that was asked for meanwhile. Raises ClaimLost."""
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
    else:
        await benchmarks.end_failed(session, row, failure)


async def requeue(session: AsyncSession, claim: Claim) -> None:
    """Ends a benchmark that was stopped because a client cancelled it; otherwise the worker stops in good order.

    Then the benchmark goes back into the queue, and the attempt is not counted. Raises ClaimLost.
    """
    row = await held(session, claim)
    if row.status == "cancelling":
        await benchmarks.end(session, row, Cancelled())
        return
    row.attempt -= 1
    events.append(session, row, HandedBack(worker=row.holder))
    await benchmarks.requeue(session, row)


async def requeue_elsewhere(session: AsyncSession, claim: Claim, fault: str, max_attempts: int) -> None:
    """Puts a benchmark whose worker's device is sick back into the queue, for another; ends it after its attempts.

    The attempt is counted: what a benchmark does to a device, it may do to the next. Its blocks are not kept: nobody
    knows since when the device was sick. Raises ClaimLost.
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
    detail = f"In attempt {row.attempt} of {max_attempts} the device of worker {row.worker_id} was found sick. {fault}"
    await benchmarks.end_failed(session, row, Failure.of(FailureCode.DEVICE_SICK, detail))


def summarise(report: Report) -> Summary:
    """The figures of the first candidate, and every leg in short."""
    first = report.comparisons[0]
    legs = [report.baseline, *(found.candidate for found in report.comparisons), *filter(None, [report.control])]
    trials = sum(len(leg.trials) for leg in legs)
    return Summary(
        verdict=report.verdict,
        speedup=first.speedup,
        memory_reduction_percent=first.memory_reduction_percent,
        accuracy_difference=first.accuracy_difference,
        loss_difference=first.loss_difference,
        legs=[_in_short(report.baseline), *(_in_short(found.candidate, found) for found in report.comparisons)],
        overhead_seconds_per_trial=report.overhead_seconds / trials if trials else None,
    )


def _in_short(leg: Leg, found: Comparison | None = None) -> LegSummary:
    return LegSummary(
        precision=leg.precision,
        samples_per_second=leg.samples_per_second,
        peak_memory_bytes=leg.peak_memory_bytes,
        verdict=found.verdict if found else None,
        speedup=found.speedup if found else None,
        memory_reduction_percent=found.memory_reduction_percent if found else None,
        achieved_flops_per_second=leg.achieved_flops_per_second,
    )


async def held(session: AsyncSession, claim: Claim) -> BenchmarkRow:
    """The benchmark's row, locked, if it is still this claim's: what every write begins with. Raises ClaimLost."""
    query = select(BenchmarkRow).where(
        BenchmarkRow.id == claim.benchmark_id,
        BenchmarkRow.queue_entry_id == claim.entry_id,
        BenchmarkRow.status.in_(HELD),
    )
    row = (await session.scalars(query.with_for_update())).one_or_none()
    if row is None:
        raise ClaimLost
    return row
