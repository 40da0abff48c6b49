"""The worker: registers, claims one benchmark at a time, heartbeats, reaps, and stops in good order."""

import asyncio
import os
import platform
import uuid
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog
from procrastinate import JobContext, PsycopgConnector

from app import tracing
from app.contract.worker import WorkerDevice
from app.queue import RUN_BENCHMARK, queue_app, queues_of
from app.settings import Settings
from app.store import reaper, workers
from app.store.database import Database, libpq_url, open_database
from worker.job import Job
from worker.launcher import TrialLauncher

log = structlog.get_logger(__name__)

#: SQLAlchemy's; the queue adds one to listen with and one to fetch with.
POOL_SIZE = 1

HEARTBEAT_SECONDS = 3.0

#: Backs up the queue's notifications.
POLLING_SECONDS = 1.0

#: What a stopping worker waits for a benchmark that is about to end; then it hands it back.
GRACE_SECONDS = 2.0


class Superseded(Exception):
    """Another process has registered under this worker's id."""


async def run_worker(settings: Settings, device: WorkerDevice, worker_id: str | None = None) -> None:
    """Works until SIGTERM or SIGINT. Raises Superseded, in a group, where another worker takes its id."""
    # NVML numbers GPUs by their place on the bus; by default CUDA puts the fastest first.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    async with (
        tracing.exported_spans("halftime-worker"),
        open_database(settings, pool_size=POOL_SIZE) as database,
    ):
        await _Worker(settings, database, device, worker_id or f"{platform.node()}:{device.name}").run()


class _Worker:
    """One device's worker."""

    def __init__(self, settings: Settings, database: Database, device: WorkerDevice, worker_id: str) -> None:
        self._settings, self._database, self._device, self._id = settings, database, device, worker_id
        self._session_id = uuid.uuid4()
        self._current: UUID | None = None
        self._launcher = TrialLauncher()

    async def run(self) -> None:
        """Serves the queue until told to stop."""
        sessions = self._database.sessions
        await self._launcher.warm_up()
        async with sessions.begin() as session:
            await workers.register(session, self._id, self._session_id, self._device)
        log.info("worker ready", worker=self._id, device=self._device.name, gpu=self._device.gpu)
        try:
            # asyncio's own group: it cancels the queue's worker once, which then stops in good order.
            async with asyncio.TaskGroup() as tasks:
                beside = [tasks.create_task(_regularly(what, every)) for what, every in self._duties()]
                await self._serve_queue()
                for task in beside:
                    task.cancel()
        finally:
            await self._launcher.close()
            async with sessions.begin() as session:
                await workers.retire(session, self._id, self._session_id)
        log.info("worker stopped", worker=self._id)

    def _duties(self) -> list[tuple[Callable[[], Awaitable[None]], float]]:
        return [(self._heartbeat, HEARTBEAT_SECONDS), (self._reap, reaper.PERIOD_SECONDS)]

    async def _serve_queue(self) -> None:
        queue_app.task(name=RUN_BENCHMARK, pass_context=True)(self._run_benchmark)
        connector = PsycopgConnector(conninfo=libpq_url(self._database.url), min_size=1, max_size=1)
        with queue_app.replace_connector(connector):
            async with queue_app.open_async():
                await queue_app.run_worker_async(
                    queues=queues_of(self._device),
                    name=self._id,
                    concurrency=1,
                    fetch_job_polling_interval=POLLING_SECONDS,
                    abort_job_polling_interval=POLLING_SECONDS,
                    shutdown_graceful_timeout=GRACE_SECONDS,
                    delete_jobs="always",
                )

    async def _run_benchmark(self, context: JobContext, benchmark_id: str) -> None:
        """The queue's one task. The queue aborts it by cancelling; the job is then asked to stop, and waited for."""
        assert context.job.id is not None
        self._current = UUID(benchmark_id)
        job = Job(
            self._database.sessions,
            self._launcher,
            self._id,
            self._device,
            context.job.id,
            self._settings.max_parameters,
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
            self._current = None
        if aborted is not None:
            raise aborted

    async def _heartbeat(self) -> None:
        async with self._database.sessions.begin() as session:
            mine = await workers.heartbeat(session, self._id, self._session_id, self._current)
        if not mine:
            raise Superseded(f"Another process works as {self._id!r}. Give each worker its own --id.")

    async def _reap(self) -> None:
        try:
            async with self._database.sessions.begin() as session:
                await reaper.sweep(session, self._settings.max_attempts)
        except Exception:
            await self._database.recover()
            raise


async def _regularly(duty: Callable[[], Awaitable[None]], every_seconds: float) -> None:
    """Until cancelled. A round that fails is logged and made up for by the next."""
    while True:
        try:
            await duty()
        except Superseded:
            raise
        except Exception as error:
            log.warning("a duty failed; the next round is due", duty=duty.__name__, error=str(error))
        await asyncio.sleep(every_seconds)
