"""Runs one benchmark from claim to outcome: keeps its lease and deadline, records events, stores the report."""

import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
from halftime.contract.models.classification import is_classification
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.block import Block, Fingerprint
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Report
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.benchmark import Progress
from halftime.contract.resources.worker import WorkerDevice
from worker.agent.fingerprint import fingerprint_of
from worker.agent.quarantine import DeviceSick, may_be_device_fault
from worker.agent.traces import store_trace
from worker.agent.tracking.export import export_to_trackers
from worker.comparison import event_data
from worker.comparison.blocks import TrialRunner, compare
from worker.comparison.blocks_in_turns import TurnsRunner
from worker.comparison.capacity import measure_capacity
from worker.comparison.comparison_run import ComparisonRun
from worker.comparison.leg_failures import BenchmarkFailed
from worker.comparison.verification import verify_advice
from worker.messages import (
    AfterStepInTurns,
    BlockTurns,
    Inspection,
    Launcher,
    ModelFacts,
    OutcomeInTurns,
    TrialSpec,
)
from worker.report.build import advice_by_candidate, make_report
from worker.training.precision_facts import FACTS

log = structlog.get_logger(__name__)

#: Interval at which the lease is renewed and progress stored.
RENEWAL_SECONDS = 1.0

#: How long a stopping worker waits for the export of a stored report to trackers.
TRACKING_GRACE_SECONDS = 8.0

#: Limit for reading the fingerprint from the driver and the installed packages.
ANSWER_SECONDS = 30.0

#: Limit of an inspection, which takes seconds for a model of reasonable size.
INSPECTION_SECONDS = 60.0
TOO_LONG = f"Inspecting the model took longer than {INSPECTION_SECONDS:.0f} s. Use fewer or smaller layers."

Sessions = async_sessionmaker[AsyncSession]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Job:
    """Runs one queued benchmark. `stop` may be called at any time, more than once."""

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
        """`examine` checks the device and returns its fault, if any."""
        self._sessions, self._launcher, self._device = sessions, launcher, device
        self._worker_id, self._entry_id = worker_id, entry_id
        self._settings, self._examine = settings, examine
        self._scope, self._tracking_scope = anyio.CancelScope(), anyio.CancelScope()
        self._progress: Progress | None = None

    def stop(self) -> None:
        """Ends the trial; then cancels the benchmark if a client asked for that, otherwise requeues it."""
        self._scope.cancel()
        self._tracking_scope.deadline = min(
            self._tracking_scope.deadline, anyio.current_time() + TRACKING_GRACE_SECONDS
        )

    async def run(self, benchmark_id: UUID) -> None:
        """Runs until the benchmark ends or its claim is lost."""
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
                    await self.in_transaction(claims.requeue, claim)
                    log.info("benchmark stopped")
                if report:
                    with self._tracking_scope:
                        await export_to_trackers(self._sessions, claim.request, report)
            except ClaimLost:
                log.warning("claim lost; measurements discarded")

    async def _take(self, benchmark_id: UUID) -> Claim | None:
        """Claims the benchmark; retries while the database is unreachable. A claim whose reply was lost is found."""
        async for attempt in _database_attempts():
            with attempt:
                async with self._sessions.begin() as session:
                    return await claims.take(session, benchmark_id, self._entry_id, self._worker_id, self._device.gpu)
        raise AssertionError("stamina returns or raises")

    async def _measure(self, claim: Claim) -> Report | None:
        """Measures, stores the outcome, and returns the report if one was stored."""
        timeout = claim.request.config.timeout_seconds
        try:
            report, packed = await self._report_while_leased(claim)
        except TimeoutError:
            detail = (
                f"The benchmark exceeded its timeout_seconds of {timeout:g}. Reduce the work, or raise the timeout."
            )
            await self._fail(claim, Failure.of(FailureCode.TIMEOUT, detail))
        except BenchmarkFailed as error:
            await self._fail(claim, error.failure)
        except DeviceSick as error:
            await self.in_transaction(claims.requeue_elsewhere, claim, error.fault, self._settings.max_attempts)
            log.warning("benchmark requeued for another worker", fault=error.fault)
        except ClaimLost:
            raise
        except Exception as error:  # an internal error must end the benchmark, not leave it running
            log.exception("benchmark failed")
            await self.in_transaction(claims.record, claim, InternalFault(), traceback.format_exc())
            await self._fail(claim, Failure.of(FailureCode.INTERNAL, f"{type(error).__name__}: {error}"[:1000]))
        else:
            stored = await self.in_transaction(claims.succeed, claim, report, packed)
            log.info("benchmark succeeded", verdict=report.verdict, blocks=report.blocks)
            return report if stored else None
        return None

    async def _report_while_leased(self, claim: Claim) -> tuple[Report, bytes]:
        """Measures while the lease is kept; returns the report and its stored form."""

        async def run_trial(
            spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
        ) -> TrialResult | Failure:
            with (
                structlog.contextvars.bound_contextvars(leg=spec.leg, block=spec.block),
                tracing.trial_span(spec.leg, spec.block),
            ):
                trace: list[bytes] = []
                ended, logs = await self._launcher.run(spec, deadline_seconds, after_step, trace.append)
                outcome = await store_trace(self._sessions, claim, spec.leg, ended, trace[-1] if trace else None)
                await self.in_transaction(claims.record, claim, event_data.after_trial(spec, outcome), logs)
                if may_be_device_fault(spec, outcome):
                    await self._require_health()
            return outcome

        async def run_turns(
            specs: Sequence[TrialSpec],
            turns: BlockTurns,
            deadline_seconds: float,
            after_step: AfterStepInTurns,
        ) -> list[OutcomeInTurns]:
            with structlog.contextvars.bound_contextvars(block=specs[0].block), contextlib.ExitStack() as spans:
                for spec in specs:
                    spans.enter_context(tracing.trial_span(spec.leg, spec.block))
                results = await self._launcher.run_in_turns(specs, turns, deadline_seconds, after_step)
                suspicious = False
                for spec, (outcome, logs) in zip(specs, results, strict=True):
                    if outcome is not None:
                        await self.in_transaction(claims.record, claim, event_data.after_trial(spec, outcome), logs)
                        suspicious |= may_be_device_fault(spec, outcome)
                if suspicious:
                    await self._require_health()
            return [outcome for outcome, _ in results]

        timeout = claim.request.config.timeout_seconds
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_lease, claim)
                try:
                    with anyio.fail_after(timeout) as time_limit:
                        began, parameter_count = time.monotonic(), await self._inspect(claim)
                        comparison = ComparisonRun.of(claim.request, self._device, parameter_count, began)
                        await self._compare(claim, comparison, run_trial, run_turns, time_limit)
                except TimeoutError:  # the device may hang
                    await self._require_health()
                    raise
                if claim.request.config.measurement.capacity:
                    await self._measure_capacity(comparison, run_trial)
                if claim.request.config.verifies_advice:
                    await self._verify_advice(comparison, run_trial, run_turns)
                report = await anyio.to_thread.run_sync(_packed_report, str(claim.benchmark_id), comparison)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise _first_error(group) from group
        return report

    async def _compare(
        self,
        claim: Claim,
        comparison: ComparisonRun,
        run_trial: TrialRunner,
        run_turns: TurnsRunner,
        time_limit: anyio.CancelScope,
    ) -> None:
        """Compares, resuming after the blocks of an earlier attempt; their duration counts towards the timeout."""
        fingerprint = await self._fingerprint(claim)
        earlier = await self.in_transaction(blocks.resume_blocks, claim, fingerprint)
        time_limit.deadline -= sum(kept.block.seconds for kept in earlier)

        async def keep_block(block: Block) -> None:
            known = None if block.pairing == "survey" else event_data.after_block(comparison)
            await self.in_transaction(blocks.keep, claim, fingerprint, block, known)

        await compare(comparison, run_trial, self._set_progress, keep_block, earlier, run_turns)

    async def _fingerprint(self, claim: Claim) -> Fingerprint:
        """Reads the fingerprint. Raises DeviceSick when that fails or hangs and a check finds the device faulty."""
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                return await anyio.to_thread.run_sync(
                    fingerprint_of, self._device, claim.request, abandon_on_cancel=True
                )
        except Exception as error:
            await self._require_health()
            reason = str(error) or f"no answer within {ANSWER_SECONDS:.0f} s"
            raise RuntimeError(f"Could not identify the GPU: {reason}") from error

    async def _require_health(self) -> None:
        """Raises DeviceSick when a check finds a fault."""
        fault = await self._examine()
        if fault is not None:
            raise DeviceSick(fault)

    async def _measure_capacity(self, comparison: ComparisonRun, run_trial: TrialRunner) -> None:
        """Searches for the largest batch. Its errors are logged and leave the comparison's report intact.

        Raises DeviceSick, because the fault may have begun before the search.
        """
        try:
            await measure_capacity(comparison, run_trial, self._set_progress)
        except (ClaimLost, DeviceSick):
            raise
        except Exception:
            log.exception("capacity not measured")

    async def _verify_advice(self, comparison: ComparisonRun, run_trial: TrialRunner, run_turns: TurnsRunner) -> None:
        """Measures the gain of the advice that the report will have. Errors and DeviceSick as in the search above."""
        try:
            advice = await anyio.to_thread.run_sync(advice_by_candidate, comparison)
            await verify_advice(comparison, advice, run_trial, run_turns, self._set_progress)
        except (ClaimLost, DeviceSick):
            raise
        except Exception:
            log.exception("advice not verified")

    async def _inspect(self, claim: Claim) -> int | None:
        """Inspects model and data if only torch can count the parameters, data must be read, or metrics be looked up.

        Returns that count. Raises BenchmarkFailed, before anything is trained, when model, data or requirements are
        unusable.
        """
        model, config = claim.request.model, claim.request.config
        metrics = [] if is_classification(model) else claim.request.requirements.metrics()
        needs_data = config.data.kind != "synthetic"
        if model.parameter_count() is not None and not needs_data and not metrics and config.adapters is None:
            return None
        inspection = Inspection(
            device=self._device.name,
            model=model,
            data=config.data,
            adapters=config.adapters,
            seed=config.training.seed,
            metrics=metrics,
        )
        result, logs = await self._launcher.inspect(inspection, INSPECTION_SECONDS)
        if isinstance(result, Failure):
            await self.in_transaction(claims.record, claim, InspectionFailed(code=result.code), logs)
            timed_out = result.code is FailureCode.TIMEOUT
            raise BenchmarkFailed(Failure.of(FailureCode.INVALID_MODEL, TOO_LONG) if timed_out else result)
        await self.in_transaction(claims.note_parameters, claim, result.parameter_count, logs)
        self._require_size_limits(result, config.baseline)
        return result.parameter_count

    def _require_size_limits(self, facts: ModelFacts, baseline: PrecisionName) -> None:
        if facts.parameter_count > self._settings.max_parameters:
            raise BenchmarkFailed(
                Failure.of(
                    FailureCode.INVALID_MODEL,
                    f"The model has {facts.parameter_count:,} parameters; this worker accepts at most "
                    f"{self._settings.max_parameters:,} (HALFTIME_MAX_PARAMETERS). Use a smaller model, or raise it.",
                )
            )
        memory_bytes = self._device.memory_bytes
        min_memory_bytes = facts.min_memory_bytes // (1 if FACTS[baseline].weights == "float32" else 2)
        if memory_bytes is not None and min_memory_bytes > memory_bytes:
            raise BenchmarkFailed(
                Failure.of(
                    FailureCode.OUT_OF_MEMORY,
                    f"Weights and gradients alone need {min_memory_bytes / 2**30:.1f} GiB; "
                    f"{self._device.name} has {memory_bytes / 2**30:.1f} GiB. Use a smaller model or a larger device.",
                )
            )

    async def _keep_lease(self, claim: Claim) -> None:
        """Renews the lease until cancelled. Raises ClaimLost when the database stays unreachable until it expires."""
        renewed = time.monotonic()
        while True:
            left_seconds = LEASE.total_seconds() - (time.monotonic() - renewed)
            try:
                with anyio.fail_after(left_seconds):
                    async with self._sessions.begin() as session:
                        wanted = await claims.renew(session, claim, self._progress)
                renewed = time.monotonic()
                if not wanted:  # the queue may have cancelled it already, or be unreachable
                    self.stop()
            except TimeoutError as error:
                raise ClaimLost from error
            except SQLAlchemyError as error:
                log.warning("lease not renewed", error=str(error))
            await anyio.sleep(RENEWAL_SECONDS)

    async def in_transaction(
        self,
        operation: Callable[Concatenate[AsyncSession, Claim, Arguments], Awaitable[Result]],
        claim: Claim,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Runs one statement of the store under the claim.

        Retries while the database is unreachable, for as long as the lease lasts. Raises ClaimLost after that, and
        DataError at once for values that the database cannot store.
        """
        try:
            async for attempt in _database_attempts():
                with attempt:
                    async with self._sessions.begin() as session:
                        return await operation(session, claim, *arguments, **named)
        except SQLAlchemyError as error:
            if _is_transient(error):
                raise ClaimLost from error
            raise
        raise AssertionError("stamina returns or raises")

    async def _fail(self, claim: Claim, failure: Failure) -> None:
        await self.in_transaction(claims.fail, claim, failure)
        log.info("benchmark failed", code=failure.code, detail=failure.detail)

    def _set_progress(self, progress: Progress) -> None:
        self._progress = progress


def _packed_report(benchmark_id: str, comparison: ComparisonRun) -> tuple[Report, bytes]:
    report = make_report(benchmark_id, comparison)
    return report, claims.pack(report)


def _database_attempts() -> AsyncIterator[stamina.Attempt]:
    """Attempts of a database operation, for as long as a lease lasts."""
    return aiter(stamina.retry_context(on=_is_transient, attempts=None, timeout=LEASE, wait_max=1.0))


def _is_transient(error: Exception) -> bool:
    return isinstance(error, SQLAlchemyError) and not isinstance(error, DataError)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf exception of a group: a task group cancels its other tasks when one fails."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
