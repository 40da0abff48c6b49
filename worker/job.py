"""One claimed benchmark: its lease, its deadline, its outcome."""

import time
import traceback
from collections.abc import Callable
from uuid import UUID

import anyio
import structlog
from procrastinate import JobContext
from procrastinate.job_context import AbortReason
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.contract.benchmark import Progress
from app.contract.failure import Failure, FailureCode
from app.contract.trial import TrialResult
from app.contract.worker import WorkerDevice
from app.store import claims
from app.store.claims import Claim, ClaimLost
from app.store.workers import LEASE
from worker.comparison import BenchmarkFailed, Comparison, compare, median_step
from worker.launcher import TrialLauncher
from worker.messages import TrialSpec
from worker.report import make_report

log = structlog.get_logger(__name__)

#: How often the lease is renewed and progress shown.
RENEWAL_SECONDS = 1.0

Sessions = async_sessionmaker[AsyncSession]


class Job:
    """Runs a benchmark that the queue handed out, and writes down what came of it."""

    def __init__(self, sessions: Sessions, launcher: TrialLauncher, device: WorkerDevice, claim: Claim) -> None:
        self._sessions, self._launcher, self._device, self._claim = sessions, launcher, device, claim
        self._progress: Progress | None = None

    async def run(self, context: JobContext) -> None:
        """To the end of the benchmark, or of this worker's hold on it."""
        try:
            await self._measure()
        except ClaimLost:
            log.warning("claim lost; the trial is stopped and its result discarded")
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._settle_cancelled(context)
            raise

    async def _measure(self) -> None:
        comparison = Comparison.of(self._claim.request, self._device)
        timeout = self._claim.request.config.timeout_seconds
        try:
            with anyio.fail_after(timeout):
                await self._compare_while_leased(comparison)
            report = await anyio.to_thread.run_sync(make_report, str(self._claim.benchmark_id), comparison)
        except TimeoutError:
            detail = f"The benchmark took longer than its timeout_seconds of {timeout:g}. Ask for less, or raise it."
            await self._fail(Failure.of(FailureCode.TIMEOUT, detail))
        except BenchmarkFailed as error:
            await self._fail(error.failure)
        except (ClaimLost, SQLAlchemyError):
            raise
        except Exception as error:  # a fault of ours must end the benchmark, not hang it
            log.exception("benchmark failed")
            await self._record("fault", {}, traceback.format_exc())
            await self._fail(Failure.of(FailureCode.INTERNAL, f"{type(error).__name__}: {error}"[:1000]))
        else:
            async with self._sessions.begin() as session:
                await claims.succeed(session, self._claim, report)
            log.info("benchmark succeeded", verdict=report.verdict, blocks=report.blocks)

    async def _compare_while_leased(self, comparison: Comparison) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_lease)
                await compare(comparison, self._run_trial, self._show)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _only(group) from group

    async def _run_trial(
        self, spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> TrialResult | Failure:
        outcome, logs = await self._launcher.run(spec, deadline_seconds, after_step)
        what: dict[str, object] = {"leg": spec.precision, "block": spec.block}
        if isinstance(outcome, TrialResult):
            figures = {"median_step_seconds": median_step(outcome), "validation_loss": outcome.validation_loss}
            await self._record("trial_finished", what | figures, logs)
        else:
            await self._record("trial_failed", what | {"code": outcome.code, "detail": outcome.detail}, logs)
        return outcome

    async def _keep_lease(self) -> None:
        """Renews until cancelled. A database that is away is waited for, as long as the lease lasts."""
        renewed = time.monotonic()
        while True:
            try:
                async with self._sessions.begin() as session:
                    await claims.renew(session, self._claim, self._progress)
                renewed = time.monotonic()
            except SQLAlchemyError as error:
                log.warning("lease not renewed", error=str(error))
                if time.monotonic() - renewed > LEASE.total_seconds():
                    raise ClaimLost from error
            await anyio.sleep(RENEWAL_SECONDS)

    async def _settle_cancelled(self, context: JobContext) -> None:
        """On request, or because the worker stops: then somebody else may run it."""
        try:
            async with self._sessions.begin() as session:
                if context.abort_reason() is AbortReason.SHUTDOWN:
                    await claims.hand_back(session, self._claim)
                    log.info("benchmark handed back")
                else:
                    await claims.confirm_cancelled(session, self._claim)
                    log.info("benchmark cancelled")
        except ClaimLost:
            log.warning("claim lost while stopping")

    async def _record(self, kind: str, data: dict[str, object], logs: str) -> None:
        async with self._sessions.begin() as session:
            await claims.record(session, self._claim, kind, data, logs)

    async def _fail(self, failure: Failure) -> None:
        async with self._sessions.begin() as session:
            await claims.fail(session, self._claim, failure)
        log.info("benchmark failed", code=failure.code, detail=failure.detail)

    def _show(self, progress: Progress) -> None:
        self._progress = progress


async def take(
    sessions: Sessions, benchmark_id: UUID, context: JobContext, worker_id: str, gpu: str | None
) -> Claim | None:
    """Claims what the queue handed out; None if another attempt has superseded this entry."""
    assert context.job.id is not None
    async with sessions.begin() as session:
        return await claims.take(session, benchmark_id, context.job.id, worker_id, gpu)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a task group's failure: its tasks end together when one does."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
