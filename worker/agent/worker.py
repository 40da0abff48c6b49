"""The worker: registers, claims one benchmark at a time, sends heartbeats, reaps lost claims, and stops gracefully."""

import asyncio
import contextlib
import platform
import signal
import uuid
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import structlog
from procrastinate import JobContext

from app.observability import tracing
from app.settings import Settings
from app.store import workers
from app.store.database.connection import Database, open_database
from app.store.queue import queues_of
from app.store.upkeep import reaper
from halftime.contract.report.failure import Failure
from halftime.contract.resources.worker import WorkerDevice
from worker.agent.job import Job
from worker.agent.quarantine import RECHECK_SECONDS, DeviceMonitor
from worker.agent.queue import serve_queue
from worker.messages import DeviceSupport, Launcher

log = structlog.get_logger(__name__)

#: Connections; the queue shares them and opens one more to listen.
POOL_SIZE = 1

HEARTBEAT_SECONDS = 3.0

#: Limit for measuring the support of every precision and the ceilings, which takes seconds on a slow device.
SUPPORT_SECONDS = 60.0

#: How long a stopping worker waits for a benchmark to finish before it requeues it.
GRACE_SECONDS = 2.0


class Superseded(Exception):
    """Another process has registered with this worker's id."""


async def run_worker(
    settings: Settings, device: WorkerDevice, launcher: Launcher, worker_id: str | None = None
) -> None:
    """Claims and runs benchmarks until SIGTERM or SIGINT.

    Raises Superseded when another process registers with the same id.
    """
    async with (
        tracing.exported_spans("halftime-worker"),
        open_database(settings, pool_size=POOL_SIZE) as database,
    ):
        worker_id = worker_id or f"{platform.node()}:{device.name}"
        await _Worker(settings, database, device, worker_id, launcher).run()


class _Worker:
    """The worker of one device."""

    def __init__(
        self, settings: Settings, database: Database, device: WorkerDevice, worker_id: str, launcher: Launcher
    ) -> None:
        self._settings, self._database, self._device, self._id = settings, database, device, worker_id
        self._session_id = uuid.uuid4()
        self._current: UUID | None = None
        self._job: Job | None = None
        self._launcher, self._watch = launcher, DeviceMonitor(launcher, device.name)
        self._stopping = self._draining = self._superseded = False
        self._measuring: asyncio.Task[DeviceSupport | Failure] | None = None
        #: Set when the worker is told to stop or drain, or when the device's quarantine begins or ends.
        self._state_changed = asyncio.Event()

    async def run(self) -> None:
        """Serves the queue until stopped."""
        sessions = self._database.sessions
        self._handle_signals()
        await self._launcher.warm_up()
        await self._watch.examine()
        await self._measure_device()
        async with sessions.begin() as session:
            await workers.register(session, self._id, self._session_id, self._device)
        await self._heartbeat()  # reads whether it was drained before a restart
        log.info("worker ready", worker=self._id, device=self._device.name, gpu=self._device.gpu)
        try:
            # asyncio's TaskGroup, not anyio's: a task it cancels may still await while it cleans up.
            async with asyncio.TaskGroup() as tasks:
                periodic = [tasks.create_task(_every(what, every)) for what, every in self._periodic_tasks()]
                try:
                    await self._work()
                finally:
                    await end(periodic)
        finally:
            await self._launcher.close()
            async with sessions.begin() as session:
                await workers.retire(session, self._id, self._session_id)
        if self._superseded:
            raise Superseded(f"Another worker process has the id {self._id!r}. Give each worker its own --id.")
        log.info("worker stopped", worker=self._id)

    async def _measure_device(self) -> None:
        """Measures the device's support of each precision and its ceilings, unless the worker is stopped meanwhile.

        A quarantined device is measured when its quarantine ends.
        """
        if self._watch.fault is not None or self._stopping:
            return
        self._measuring = asyncio.create_task(self._launcher.measure_support(self._device.name, SUPPORT_SECONDS))
        try:
            support = await self._measuring
        except asyncio.CancelledError:
            if self._stopping:
                return
            raise
        finally:
            self._measuring = None
        if isinstance(support, Failure):
            log.warning("support of precisions could not be measured", reason=support.detail)
            return
        if support.ceilings is None:
            log.warning("ceilings of the device could not be measured", reason=support.ceilings_missing)
        measured = {"precisions": support.precisions, "ceilings": support.ceilings}
        self._device = self._device.model_copy(update=measured)

    def _handle_signals(self) -> None:
        """Makes the first signal stop the worker gracefully, and the next end it and its trial at once."""
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            log.info("worker stopping; a second signal ends it immediately")
            self._stop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)
                signal.signal(signum, signal.SIG_DFL)

        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, on_signal)

    def _stop(self) -> None:
        self._stopping = True
        self._state_changed.set()
        if self._measuring is not None:
            self._measuring.cancel()

    def _periodic_tasks(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        return [
            (self._heartbeat, HEARTBEAT_SECONDS),
            (self._reap, reaper.PERIOD_SECONDS),
            (self._recheck, RECHECK_SECONDS),
        ]

    async def _work(self) -> None:
        """Claims benchmarks until stopped; pauses while drained or while the device is quarantined."""
        while not self._stopping:
            self._state_changed.clear()
            if self._draining or self._watch.fault is not None:
                await self._state_changed.wait()
            else:
                await self._serve_queue()

    async def _serve_queue(self) -> None:
        queues = queues_of(self._device)
        serving = asyncio.create_task(serve_queue(self._database, queues, self._id, self._run_benchmark))
        try:
            await self._state_changed.wait()
        finally:
            await self._drain(serving)

    async def _drain(self, serving: asyncio.Task[None]) -> None:
        """Stops claiming and waits for the running benchmark; a stopping worker waits for GRACE_SECONDS at most."""
        serving.cancel()
        while not serving.done():
            await asyncio.wait([serving], timeout=GRACE_SECONDS)
            # Cancels repeatedly: see `end`.
            if self._job is None:
                serving.cancel()
            elif self._stopping:
                self._job.stop()

    async def _run_benchmark(self, context: JobContext, benchmark_id: str) -> None:
        """The queue's task. When the queue cancels it, the job is stopped and awaited."""
        assert context.job.id is not None
        self._current = UUID(benchmark_id)
        job = self._job = Job(
            self._database.sessions,
            self._launcher,
            self._id,
            self._device,
            context.job.id,
            self._settings,
            self._examine,
        )
        running = asyncio.create_task(job.run(self._current))
        aborted: asyncio.CancelledError | None = None
        try:
            while not running.done():
                try:
                    await asyncio.shield(running)
                except asyncio.CancelledError as cancelled:
                    aborted = cancelled
                    job.stop()
        finally:
            self._current = self._job = None
        with contextlib.suppress(Exception):  # reads whether the worker was drained; the next heartbeat does so too
            await self._heartbeat()
        if aborted is not None:
            raise aborted

    async def _heartbeat(self) -> None:
        async with self._database.sessions.begin() as session:
            draining = await workers.heartbeat(session, self._id, self._session_id, self._current, self._watch.fault)
            if draining is None and await workers.device_of(session, self._id) is None:
                log.info("worker was removed from the database; registering again", worker=self._id)
                await workers.register(session, self._id, self._session_id, self._device)
                draining = False
        if draining is None:
            self._superseded = True
            self._stop()
        elif draining != self._draining:
            log.info("worker draining" if draining else "worker claims benchmarks again", worker=self._id)
            self._draining = draining
            self._state_changed.set()

    async def _examine(self) -> str | None:
        """Checks the device and returns its fault. A fault is stored before the worker may claim another benchmark."""
        fault = await self._watch.examine()
        if fault is not None:
            await self._report_health()
        return fault

    async def _recheck(self) -> None:
        if self._watch.fault is not None:
            await self._watch.recheck()
            if self._watch.fault is None and self._device.precisions is None:
                await self._measure_device()
                await self._store_measurements()
            await self._report_health()

    async def _store_measurements(self) -> None:
        if self._device.precisions is not None:
            async with self._database.sessions.begin() as session:
                await workers.enter_measurements(session, self._id, self._session_id, self._device)

    async def _report_health(self) -> None:
        self._state_changed.set()
        with contextlib.suppress(Exception):  # the next heartbeat repeats it
            await self._heartbeat()

    async def _reap(self) -> None:
        try:
            await reaper.run_if_due(self._database.sessions, self._settings.max_attempts)
        except Exception:
            await self._database.recover()
            raise


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels tasks until all have ended.

    Cancels repeatedly: while a task awaits a connection, asyncio.wait_for of Python 3.11 may swallow a cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=GRACE_SECONDS)


async def _every(task: Callable[[], Awaitable[None]], every_seconds: float) -> None:
    """Runs a task at an interval until cancelled; logs a run that fails."""
    while True:
        try:
            await task()
        except Exception as error:
            log.warning("periodic task failed; it is retried", task=task.__name__, error=str(error))
        await asyncio.sleep(every_seconds)
