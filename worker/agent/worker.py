"""The worker: registers, claims one benchmark at a time, heartbeats, reaps, and stops in good order."""

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
from worker.agent.quarantine import RECHECK_SECONDS, DeviceWatch
from worker.agent.queue import serve_for_good
from worker.messages import DeviceSupport, Launcher

log = structlog.get_logger(__name__)

#: The queue works on it too, and adds one to listen with.
POOL_SIZE = 1

HEARTBEAT_SECONDS = 3.0

#: A slow device takes seconds to say what it can do in each precision.
SUPPORT_SECONDS = 60.0

#: What a stopping worker waits for a benchmark that is about to end; then it hands it back.
GRACE_SECONDS = 2.0


class Superseded(Exception):
    """Another process has registered under this worker's id."""


async def run_worker(
    settings: Settings, device: WorkerDevice, launcher: Launcher, worker_id: str | None = None
) -> None:
    """Works until SIGTERM or SIGINT, with trials that the launcher starts.

    Raises Superseded where another worker takes its id.
    """
    async with (
        tracing.exported_spans("halftime-worker"),
        open_database(settings, pool_size=POOL_SIZE) as database,
    ):
        worker_id = worker_id or f"{platform.node()}:{device.name}"
        await _Worker(settings, database, device, worker_id, launcher).run()


class _Worker:
    """One device's worker."""

    def __init__(
        self, settings: Settings, database: Database, device: WorkerDevice, worker_id: str, launcher: Launcher
    ) -> None:
        self._settings, self._database, self._device, self._id = settings, database, device, worker_id
        self._session_id = uuid.uuid4()
        self._current: UUID | None = None
        self._job: Job | None = None
        self._launcher, self._watch = launcher, DeviceWatch(launcher, device.name)
        self._stopping = self._draining = self._superseded = False
        self._measuring: asyncio.Task[DeviceSupport | Failure] | None = None
        #: Something of the two has changed, or whether the device is quarantined.
        self._turn = asyncio.Event()

    async def run(self) -> None:
        """Serves the queue until told to stop."""
        sessions = self._database.sessions
        self._mind_signals()
        await self._launcher.warm_up()
        await self._watch.examine()
        await self._measure_precisions()
        async with sessions.begin() as session:
            await workers.register(session, self._id, self._session_id, self._device)
        await self._heartbeat()  # it may have been drained before it was restarted
        log.info("worker ready", worker=self._id, device=self._device.name, gpu=self._device.gpu)
        try:
            # asyncio's own group: what it cancels may end in good order.
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(_regularly(what, every)) for what, every in self._duties()]
                try:
                    await self._work()
                finally:
                    await end(beside)
        finally:
            await self._launcher.close()
            async with sessions.begin() as session:
                await workers.retire(session, self._id, self._session_id)
        if self._superseded:
            raise Superseded(f"Another process works as {self._id!r}. Give each worker its own --id.")
        log.info("worker stopped", worker=self._id)

    async def _measure_precisions(self) -> None:
        """Learns what the device can do in each precision, if nobody tells the worker to stop meanwhile.

        A sick device is asked when it is well again.
        """
        if self._watch.fault is not None or self._stopping:
            return
        self._measuring = asyncio.create_task(self._launcher.measure_support(self._device.name, SUPPORT_SECONDS))
        try:
            found = await self._measuring
        except asyncio.CancelledError:
            if self._stopping:
                return
            raise
        finally:
            self._measuring = None
        if isinstance(found, Failure):
            log.warning("what the device can do in each precision is not known", reason=found.detail)
        else:
            self._device = self._device.model_copy(update={"precisions": found.precisions})

    def _mind_signals(self) -> None:
        """The first signal stops the worker in good order; the next ends it at once, and its trial with it."""
        loop = asyncio.get_running_loop()

        def told() -> None:
            log.info("the worker stops after what it runs; another signal ends it at once")
            self._stop()
            for signum in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(signum)
                signal.signal(signum, signal.SIG_DFL)

        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, told)

    def _stop(self) -> None:
        self._stopping = True
        self._turn.set()
        if self._measuring is not None:
            self._measuring.cancel()

    def _duties(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        return [
            (self._heartbeat, HEARTBEAT_SECONDS),
            (self._reap, reaper.PERIOD_SECONDS),
            (self._recheck, RECHECK_SECONDS),
        ]

    async def _work(self) -> None:
        """Takes benchmarks until told to stop, and none while it is drained or its device is quarantined."""
        while not self._stopping:
            self._turn.clear()
            if self._draining or self._watch.fault is not None:
                await self._turn.wait()
            else:
                await self._take_benchmarks()

    async def _take_benchmarks(self) -> None:
        queues = queues_of(self._device)
        serving = asyncio.create_task(serve_for_good(self._database, queues, self._id, self._run_benchmark))
        try:
            await self._turn.wait()
        finally:
            await self._let_end(serving)

    async def _let_end(self, serving: asyncio.Task[None]) -> None:
        """Takes no more, and waits for the benchmark under way; for a stopping worker no longer than the grace."""
        serving.cancel()
        while not serving.done():
            await asyncio.wait([serving], timeout=GRACE_SECONDS)
            # Once is not enough: see `end`.
            if self._job is None:
                serving.cancel()
            elif self._stopping:
                self._job.stop()

    async def _run_benchmark(self, context: JobContext, benchmark_id: str) -> None:
        """The queue's one task. The queue aborts it by cancelling; the job is then asked to stop, and waited for."""
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
        with contextlib.suppress(Exception):  # it may have been drained; the next regular one makes up for it
            await self._heartbeat()
        if aborted is not None:
            raise aborted

    async def _heartbeat(self) -> None:
        async with self._database.sessions.begin() as session:
            draining = await workers.heartbeat(session, self._id, self._session_id, self._current, self._watch.fault)
            if draining is None and await workers.device_of(session, self._id) is None:
                log.info("the worker was forgotten, and is entered again", worker=self._id)
                await workers.register(session, self._id, self._session_id, self._device)
                draining = False
        if draining is None:
            self._superseded = True
            self._stop()
        elif draining != self._draining:
            log.info("the worker takes no more" if draining else "the worker takes benchmarks again", worker=self._id)
            self._draining = draining
            self._turn.set()

    async def _examine(self) -> str | None:
        """What is wrong with the device; then the worker takes no more, and the database knows before it may."""
        fault = await self._watch.examine()
        if fault is not None:
            await self._say_health()
        return fault

    async def _recheck(self) -> None:
        if self._watch.fault is not None:
            await self._watch.recheck()
            if self._watch.fault is None and self._device.precisions is None:
                await self._measure_precisions()
                await self._enter_precisions()
            await self._say_health()

    async def _enter_precisions(self) -> None:
        if self._device.precisions is not None:
            async with self._database.sessions.begin() as session:
                await workers.enter_precisions(session, self._id, self._session_id, self._device.precisions)

    async def _say_health(self) -> None:
        self._turn.set()
        with contextlib.suppress(Exception):  # the next regular one makes up for it
            await self._heartbeat()

    async def _reap(self) -> None:
        try:
            await reaper.take_turn(self._database.sessions, self._settings.max_attempts)
        except Exception:
            await self._database.recover()
            raise


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels tasks until all have ended.

    Once is not enough: while a task awaits a connection, asyncio.wait_for of Python 3.11 may swallow a cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=GRACE_SECONDS)


async def _regularly(duty: Callable[[], Awaitable[None]], every_seconds: float) -> None:
    """Until cancelled. A round that fails is logged and made up for by the next."""
    while True:
        try:
            await duty()
        except Exception as error:
            log.warning("a duty failed; the next round is due", duty=duty.__name__, error=str(error))
        await asyncio.sleep(every_seconds)
