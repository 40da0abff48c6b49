"""Exports a stored report to the trackers that its request names, and records the outcome. Failures are not fatal."""

from uuid import UUID

import anyio
import stamina
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.store import events
from halftime.contract.event_data import TrackingFailed, TrackingLogged
from halftime.contract.report.report import Report
from halftime.contract.request.request import BenchmarkRequest
from worker.agent.tracking.messages import Logged, NotLogged, TrackingTask
from worker.agent.tracking.process import run_tracker

log = structlog.get_logger(__name__)

STOPPED = "The worker was stopped during the export."

#: How long recording an event is retried while the database is unreachable.
RETRY_SECONDS = 5.0


async def export_to_trackers(
    sessions: async_sessionmaker[AsyncSession], request: BenchmarkRequest, report: Report
) -> None:
    """Exports to all trackers concurrently. Cancelling ends their processes and is recorded as a failure."""
    if request.tracking is None:
        return
    async with anyio.create_task_group() as tasks:
        for tracker in request.tracking.named():
            task = TrackingTask(tracker=tracker, tracking=request.tracking, labels=request.labels, report=report)
            tasks.start_soon(_track, sessions, task)


async def _track(sessions: async_sessionmaker[AsyncSession], task: TrackingTask) -> None:
    outcome: Logged | NotLogged = NotLogged(reason=STOPPED)
    try:
        outcome = await run_tracker(task)
    except Exception as error:
        log.exception("tracker not started")
        outcome = NotLogged(reason=f"The tracker's process could not be started: {error}")
    finally:
        with anyio.CancelScope(shield=True):
            await _record_event(sessions, task, outcome)


async def _record_event(
    sessions: async_sessionmaker[AsyncSession], task: TrackingTask, outcome: Logged | NotLogged
) -> None:
    data: TrackingLogged | TrackingFailed
    if isinstance(outcome, Logged):
        data = TrackingLogged(tracker=task.tracker, run_id=outcome.run_id, url=outcome.url)
    else:
        data = TrackingFailed(tracker=task.tracker, reason=outcome.reason)
    try:
        async for attempt in stamina.retry_context(on=SQLAlchemyError, attempts=None, timeout=RETRY_SECONDS):
            with attempt:
                async with sessions.begin() as session:
                    exists = await events.lock_and_append(session, UUID(task.report.benchmark_id), data)
    except SQLAlchemyError as error:
        log.warning("event not recorded", kind=data.kind, **data.as_json(), error=str(error))
    else:
        log.info(data.kind, **data.as_json(), deleted_meanwhile=not exists)
