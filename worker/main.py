"""The worker: registers, claims one benchmark at a time, heartbeats, reaps, and stops in good order."""

import platform
import uuid
from uuid import UUID

import anyio
import structlog
from procrastinate import JobContext, PsycopgConnector
from sqlalchemy.exc import SQLAlchemyError

from app.contract.worker import WorkerDevice
from app.queue import RUN_BENCHMARK, queue_app, queues_of
from app.settings import Settings
from app.store import reaper, workers
from app.store.database import Database, libpq_url, open_database
from worker import job
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
    """Works until SIGTERM or SIGINT. Raises SystemExit where another worker takes its id."""
    worker_id = worker_id or f"{platform.node()}:{device.name}"
    async with open_database(settings, pool_size=POOL_SIZE) as database:
        worker = _Worker(settings, database, device, worker_id)
        await worker.run()


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
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._heartbeat)
                tasks.start_soon(self._reap)
                await self._serve_queue()
                tasks.cancel_scope.cancel()
        except* Superseded as group:
            raise SystemExit(str(group.exceptions[0])) from None
        finally:
            with anyio.CancelScope(shield=True):
                await self._launcher.close()
                async with sessions.begin() as session:
                    await workers.retire(session, self._id, self._session_id)
        log.info("worker stopped", worker=self._id)

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
        """The queue's one task."""
        claimed = await job.take(self._database.sessions, UUID(benchmark_id), context, self._id, self._device.gpu)
        if claimed is None:
            return
        with structlog.contextvars.bound_contextvars(benchmark=benchmark_id, attempt=claimed.attempt):
            log.info("benchmark started")
            self._current = claimed.benchmark_id
            try:
                await self._beat()
                await job.Job(self._database.sessions, self._launcher, self._device, claimed).run(context)
            finally:
                self._current = None

    async def _heartbeat(self) -> None:
        while True:
            try:
                await self._beat()
            except SQLAlchemyError as error:
                log.warning("heartbeat not written", error=str(error))
            await anyio.sleep(HEARTBEAT_SECONDS)

    async def _beat(self) -> None:
        async with self._database.sessions.begin() as session:
            mine = await workers.heartbeat(session, self._id, self._session_id, self._current)
        if not mine:
            raise Superseded(f"Another process works as {self._id!r}. Give each worker its own --id.")

    async def _reap(self) -> None:
        while True:
            try:
                async with self._database.sessions.begin() as session:
                    await reaper.sweep(session, self._settings.max_attempts)
            except SQLAlchemyError as error:
                log.warning("reaper skipped a round", error=str(error))
            await anyio.sleep(reaper.PERIOD_SECONDS)
