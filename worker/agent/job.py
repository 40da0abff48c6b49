"""One benchmark from claim to outcome: its lease, its deadline, what is written down of it."""

import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Concatenate, ParamSpec, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import stamina
import structlog
from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.observability import tracing
from app.settings import Settings
from app.store import blocks, claims
from app.store.claims import Claim, ClaimLost
from app.store.workers import LEASE
from halftime.contract.event_data import InspectionFailed, InternalFault
from halftime.contract.report.block import Block, Fingerprint
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.benchmark import Progress
from halftime.contract.resources.worker import WorkerDevice
from worker.agent.fingerprint import measured_with
from worker.agent.quarantine import DeviceSick, casts_doubt
from worker.agent.tracking.export import export_to_trackers
from worker.comparison import event_data
from worker.comparison.blocks import BenchmarkFailed, TrialRunner, compare
from worker.comparison.capacity import measure_capacity
from worker.comparison.legs import ComparisonRun
from worker.messages import Inspection, Launcher, ModelFacts, TrialSpec
from worker.report.build import make_report

log = structlog.get_logger(__name__)

#: How often the lease is renewed and progress shown.
RENEWAL_SECONDS = 1.0

#: What a stopping worker leaves the trackers of a report that is safe already.
HAND_OVER_GRACE_SECONDS = 8.0

#: What the driver has to say which GPU this is, and the node which versions it has.
ANSWER_SECONDS = 30.0

#: A look at a model takes seconds, or the model is beyond reason.
INSPECTION_SECONDS = 60.0
TOO_LONG = f"To describe the model took longer than {INSPECTION_SECONDS:.0f} s. Ask for fewer or smaller layers."

Sessions = async_sessionmaker[AsyncSession]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Job:
    """Runs what the queue handed out. `stop` may be called at any moment, more than once."""

    def __init__(
        self,
        sessions: Sessions,
        launcher: Launcher,
        worker_id: str,
        device: WorkerDevice,
        entry_id: int,
        settings: Settings,
        examine: Callable[[], Awaitable[str | None]],
    ) -> None:
        """`examine` says what is wrong with the device, if anything."""
        self._sessions, self._launcher, self._device = sessions, launcher, device
        self._worker_id, self._entry_id = worker_id, entry_id
        self._settings, self._examine = settings, examine
        self._scope, self._hand_over_scope = anyio.CancelScope(), anyio.CancelScope()
        self._progress: Progress | None = None

    def stop(self) -> None:
        """Ends the trial; then the benchmark is cancelled if a client asked for that, else handed back."""
        self._scope.cancel()
        self._hand_over_scope.deadline = min(
            self._hand_over_scope.deadline, anyio.current_time() + HAND_OVER_GRACE_SECONDS
        )

    async def run(self, benchmark_id: UUID) -> None:
        """To the end of the benchmark, or of this worker's hold on it."""
        claim = await self._take(benchmark_id)
        if claim is None:
            return
        with (
            structlog.contextvars.bound_contextvars(benchmark=str(benchmark_id), attempt=claim.attempt),
            tracing.run_span(benchmark_id, claim.attempt, claim.traceparent),
        ):
            log.info("benchmark started")
            try:
                report = None
                with self._scope:
                    report = await self._measure(claim)
                if self._scope.cancelled_caught:
                    await self._write(claims.requeue, claim)
                    log.info("benchmark stopped")
                if report:
                    with self._hand_over_scope:
                        await export_to_trackers(self._sessions, claim.request, report)
            except ClaimLost:
                log.warning("claim lost; what the trials measured is discarded")

    async def _take(self, benchmark_id: UUID) -> Claim | None:
        """Tried again while the database is away: the next try knows of a claim whose answer was lost."""
        async for attempt in _patience():
            with attempt:
                async with self._sessions.begin() as session:
                    return await claims.take(session, benchmark_id, self._entry_id, self._worker_id, self._device.gpu)
        raise AssertionError("stamina returns or raises")

    async def _measure(self, claim: Claim) -> Report | None:
        """The report, once it is stored."""
        timeout = claim.request.config.timeout_seconds
        try:
            report, packed = await self._report_while_leased(claim)
        except TimeoutError:
            detail = f"The benchmark took longer than its timeout_seconds of {timeout:g}. Ask for less, or raise it."
            await self._fail(claim, Failure.of(FailureCode.TIMEOUT, detail))
        except BenchmarkFailed as error:
            await self._fail(claim, error.failure)
        except DeviceSick as error:
            await self._write(claims.requeue_elsewhere, claim, error.fault, self._settings.max_attempts)
            log.warning("benchmark passed on", fault=error.fault)
        except ClaimLost:
            raise
        except Exception as error:  # a fault of ours must end the benchmark, not hang it
            log.exception("benchmark failed")
            await self._write(claims.record, claim, InternalFault(), traceback.format_exc())
            await self._fail(claim, Failure.of(FailureCode.INTERNAL, f"{type(error).__name__}: {error}"[:1000]))
        else:
            stored = await self._write(claims.succeed, claim, report, packed)
            log.info("benchmark succeeded", verdict=report.verdict, blocks=report.blocks)
            return report if stored else None
        return None

    async def _report_while_leased(self, claim: Claim) -> tuple[Report, bytes]:
        """The report, and as it is stored."""

        async def run_trial(
            spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
        ) -> TrialResult | Failure:
            with (
                structlog.contextvars.bound_contextvars(leg=spec.leg, block=spec.block),
                tracing.trial_span(spec.leg, spec.block),
            ):
                outcome, logs = await self._launcher.run(spec, deadline_seconds, after_step)
                await self._write(claims.record, claim, event_data.after_trial(spec, outcome), logs)
                if casts_doubt(spec, outcome):
                    await self._require_health()
            return outcome

        timeout = claim.request.config.timeout_seconds
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_lease, claim)
                try:
                    with anyio.fail_after(timeout) as patience:
                        began, parameter_count = time.monotonic(), await self._inspect(claim)
                        comparison = ComparisonRun.of(claim.request, self._device, parameter_count, began)
                        await self._compare(claim, comparison, run_trial, patience)
                except TimeoutError:  # it may hang
                    await self._require_health()
                    raise
                if claim.request.config.measurement.capacity:
                    await self._measure_capacity(comparison, run_trial)
                made = await anyio.to_thread.run_sync(_packed_report, str(claim.benchmark_id), comparison)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _only(group) from group
        return made

    async def _compare(
        self, claim: Claim, comparison: ComparisonRun, run_trial: TrialRunner, patience: anyio.CancelScope
    ) -> None:
        """Goes on after the blocks of an earlier attempt; what they took counts towards the timeout as well."""
        ours = await self._measured_with(claim)
        earlier = await self._write(blocks.resume_blocks, claim, ours)
        patience.deadline -= sum(kept.block.seconds for kept in earlier)

        async def keep_block(block: Block) -> None:
            await self._write(blocks.keep, claim, ours, block, event_data.after_block(comparison))

        await compare(comparison, run_trial, self._show, keep_block, earlier)

    async def _measured_with(self, claim: Claim) -> Fingerprint:
        """Raises DeviceSick: the driver of a sick GPU may refuse, or not answer at all."""
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                return await anyio.to_thread.run_sync(
                    measured_with, self._device, claim.request, abandon_on_cancel=True
                )
        except Exception as error:
            await self._require_health()
            reason = str(error) or f"no answer within {ANSWER_SECONDS:.0f} s"
            raise RuntimeError(f"The driver does not tell which GPU this is: {reason}") from error

    async def _require_health(self) -> None:
        """Raises DeviceSick."""
        fault = await self._examine()
        if fault is not None:
            raise DeviceSick(fault)

    async def _measure_capacity(self, comparison: ComparisonRun, run_trial: TrialRunner) -> None:
        """Beside the comparison: what goes wrong here leaves that one its report.

        Raises DeviceSick: nobody knows since when the device was.
        """
        try:
            await measure_capacity(comparison, run_trial, self._show)
        except (ClaimLost, DeviceSick):
            raise
        except Exception:
            log.exception("capacity not measured")

    async def _inspect(self, claim: Claim) -> int | None:
        """The number of parameters, where only torch can count them or data must be looked at; else None.

        Raises BenchmarkFailed for what cannot be trained, before anything is.
        """
        model, config = claim.request.model, claim.request.config
        if model.parameter_count() is not None and config.data.kind == "synthetic":
            return None
        inspection = Inspection(device=self._device.name, model=model, data=config.data, seed=config.training.seed)
        found, logs = await self._launcher.inspect(inspection, INSPECTION_SECONDS)
        if isinstance(found, Failure):
            await self._write(claims.record, claim, InspectionFailed(code=found.code), logs)
            timed_out = found.code is FailureCode.TIMEOUT
            raise BenchmarkFailed(Failure.of(FailureCode.INVALID_MODEL, TOO_LONG) if timed_out else found)
        await self._write(claims.note_parameters, claim, found.parameter_count, logs)
        self._require_room(found)
        return found.parameter_count

    def _require_room(self, found: ModelFacts) -> None:
        if found.parameter_count > self._settings.max_parameters:
            raise BenchmarkFailed(
                Failure.of(
                    FailureCode.INVALID_MODEL,
                    f"The model has {found.parameter_count:,} parameters; this worker accepts "
                    f"{self._settings.max_parameters:,} (HALFTIME_MAX_PARAMETERS).",
                )
            )
        memory_bytes = self._device.memory_bytes
        if memory_bytes is not None and found.least_memory_bytes > memory_bytes:
            raise BenchmarkFailed(
                Failure.of(
                    FailureCode.OUT_OF_MEMORY,
                    f"Weights and gradients alone need {found.least_memory_bytes / 2**30:.1f} GiB; "
                    f"{self._device.name} has {memory_bytes / 2**30:.1f} GiB.",
                )
            )

    async def _keep_lease(self, claim: Claim) -> None:
        """Renews until cancelled. A database that is away, or hangs, is waited for as long as the lease lasts."""
        renewed = time.monotonic()
        while True:
            left_seconds = LEASE.total_seconds() - (time.monotonic() - renewed)
            try:
                with anyio.fail_after(left_seconds):
                    async with self._sessions.begin() as session:
                        wanted = await claims.renew(session, claim, self._progress)
                renewed = time.monotonic()
                if not wanted:  # the queue may have said so already, or may be away
                    self.stop()
            except TimeoutError as error:
                raise ClaimLost from error
            except SQLAlchemyError as error:
                log.warning("lease not renewed", error=str(error))
            await anyio.sleep(RENEWAL_SECONDS)

    async def _write(
        self,
        operation: Callable[Concatenate[AsyncSession, Claim, Arguments], Awaitable[Result]],
        claim: Claim,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """One write under the claim, tried again while the database is away, as long as the lease lasts.

        Raises ClaimLost then, and DataError at once for what the database will never take.
        """
        try:
            async for attempt in _patience():
                with attempt:
                    async with self._sessions.begin() as session:
                        return await operation(session, claim, *arguments, **named)
        except SQLAlchemyError as error:
            if _may_pass(error):
                raise ClaimLost from error
            raise
        raise AssertionError("stamina returns or raises")

    async def _fail(self, claim: Claim, failure: Failure) -> None:
        await self._write(claims.fail, claim, failure)
        log.info("benchmark failed", code=failure.code, detail=failure.detail)

    def _show(self, progress: Progress) -> None:
        self._progress = progress


def _packed_report(benchmark_id: str, comparison: ComparisonRun) -> tuple[Report, bytes]:
    report = make_report(benchmark_id, comparison)
    return report, claims.pack(report)


def _patience() -> AsyncIterator[stamina.Attempt]:
    """Tries of what needs the database, for as long as a lease lasts."""
    return aiter(stamina.retry_context(on=_may_pass, attempts=None, timeout=LEASE, wait_max=1.0))


def _may_pass(error: Exception) -> bool:
    return isinstance(error, SQLAlchemyError) and not isinstance(error, DataError)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a task group's failure: its tasks end together when one does."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
