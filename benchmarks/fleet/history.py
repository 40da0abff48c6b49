"""Cost of a claim, a read and a list beside finished benchmarks: none, 10,000, 100,000 and 1,000,000.

Each size is its own database on one server; they are measured in turns, so that a disturbance affects all.
Finished rows are copies of benchmarks that a simulated fleet ran, with reports cut to 500 bytes and three events each:
the number of rows matters for index look-ups, their size does not.
"""

import asyncio
import gzip
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from procrastinate import App
from sqlalchemy import URL, create_engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from app.settings import Settings
from app.store import benchmarks, claims, events, workers
from app.store.benchmarks import Filters
from app.store.database.connection import Database, libpq_url, open_database
from app.store.history import snapshot
from app.store.queue import queues_of
from app.store.upkeep import reaper, retention
from halftime.contract.report.report import Report
from halftime.contract.request.request import BenchmarkRequest
from testing.fleet.devices import H200, mixed_fleet, mixed_requests, request
from testing.fleet.fleet import simulated_fleet
from testing.fleet.service import service
from worker.agent.queue import SharedConnector

SIZES = (0, 10_000, 100_000, 1_000_000)

#: Finished benchmarks in every database, so that a list is full.
ORIGINALS = 600

#: Repetitions of each operation in each database.
ROUNDS, ROUNDS_FIRST = 200, 20

#: Copies end one minute apart: a million are two years.
COPY = """
CREATE TEMP TABLE copies ON COMMIT DROP AS
SELECT uuidv7(make_interval(mins => -n - 1)) AS id, now() - make_interval(mins => n + 1) AS at,
       (ARRAY(SELECT id FROM benchmarks ORDER BY id))[1 + n % :originals] AS original
FROM generate_series(0, :copies - 1) n;

INSERT INTO benchmarks (id, version, status, request, parameter_count, labels, model_kind, device, priority, queue,
    queue_entry_id, attempt, worker_id, worker_gpu, created_at, queued_at, started_at, finished_at, progress, summary,
    failure, warnings, last_event, samples_dropped, report_gzip, logs)
SELECT c.id, b.version, b.status, b.request, b.parameter_count, b.labels, b.model_kind, b.device, b.priority, b.queue,
    b.queue_entry_id, b.attempt, b.worker_id, b.worker_gpu, c.at, c.at, c.at, c.at, b.progress, b.summary,
    b.failure, b.warnings, 3, false, substring(b.report_gzip FOR 500), ''
FROM copies c JOIN benchmarks b ON b.id = c.original;

INSERT INTO events (benchmark_id, seq, created_at, kind, data)
SELECT c.id, e.seq, c.at, e.kind, e.data FROM copies c JOIN events e ON e.benchmark_id = c.original WHERE e.seq <= 3;
"""

#: Tables to which a finished benchmark adds rows.
GROWING = {"benchmarks", "events"}

Operation = Callable[["Subject"], Awaitable[object]]


class Subject:
    """One database, with a worker registered in its queue."""

    def __init__(self, size: int, database: Database, queue: App, taker: int, sample: UUID, report: Report) -> None:
        self.size, self.database, self.queue, self.taker = size, database, queue, taker
        self.sample = self.newest = sample
        self.report = report
        self._numbers = itertools.count()
        self._claims: list[claims.Claim] = []

    async def submit(self) -> None:
        """Submit one more job for an H200."""
        body = request(next(self._numbers), device="cuda", gpu="H200")
        async with self.database.sessions.begin() as session:
            self.newest = (await benchmarks.submit(session, BenchmarkRequest.model_validate(body))).id

    async def claim(self) -> None:
        """Fetch the job from the queue and claim it."""
        job = await self.queue.job_manager.fetch_job(queues_of(H200), self.taker)
        assert job is not None and job.id is not None
        async with self.database.sessions.begin() as session:
            claim = await claims.take(session, UUID(str(job.task_kwargs["benchmark_id"])), job.id, "w", H200.gpu)
        assert claim is not None
        self._claims.append(claim)

    async def renew(self) -> None:
        """Renew the lease of the claim."""
        async with self.database.sessions.begin() as session:
            await claims.renew(session, self._claims[-1], None)

    async def succeed(self) -> None:
        """End the claimed benchmark with a report."""
        claim = self._claims.pop()
        async with self.database.sessions.begin() as session:
            await claims.succeed(session, claim, self.report, claims.pack(self.report))

    async def remove(self) -> None:
        """Delete the rows that the measurement made."""
        async with self.database.sessions.begin() as session:
            await session.execute(text("DELETE FROM procrastinate_jobs"))
            newest = "DELETE FROM benchmarks WHERE finished_at > now() - interval '1 minute' AND worker_id = 'w'"
            await session.execute(text(newest))

    def reading(self) -> AsyncSession:
        """Session for one SELECT."""
        return self.database.reading()


async def _find(subject: Subject) -> None:
    async with subject.reading() as session:
        assert await benchmarks.find(session, subject.sample) is not None


async def _find_queued(subject: Subject) -> None:
    async with subject.reading() as session:
        result = await benchmarks.find(session, subject.newest)
        assert result is not None and result.place.position == 1


async def _report(subject: Subject) -> None:
    async with subject.reading() as session:
        await benchmarks.report_gzip(session, subject.sample)


async def _events(subject: Subject) -> None:
    async with subject.reading() as session:
        await events.list_after(session, subject.sample, 0, 100)


def _listed(**narrowed: Any) -> Operation:  # noqa: ANN401 # fields of Filters
    async def listed(subject: Subject) -> None:
        async with subject.reading() as session:
            await benchmarks.page(session, Filters(**narrowed), None, 50)

    return listed


async def _sweep(subject: Subject) -> None:
    await reaper.run_round(subject.database.sessions, 2)


async def _metrics(subject: Subject) -> None:
    async with subject.reading() as session:
        await snapshot.take_snapshot(session)


async def _fleet(subject: Subject) -> None:
    async with subject.reading() as session:
        await workers.all_workers(session)
        await workers.fleet(session)


async def _queued(subject: Subject) -> None:
    async with subject.reading() as session:
        await benchmarks.queued(session, 10_000)


async def _retain(subject: Subject) -> None:
    await retention.apply(subject.database.sessions, timedelta(days=36_500))


def operations() -> dict[str, Operation]:
    """Operations in the order of a round."""
    now = datetime.now(UTC)
    return {
        "submit": Subject.submit,
        "get, while it waits": _find_queued,
        "claim": Subject.claim,
        "renew": Subject.renew,
        "succeed": Subject.succeed,
        "get": _find,
        "get report": _report,
        "get events": _events,
        "list": _listed(),
        "list status=failed": _listed(statuses=["failed"]),
        "list status=queued,running": _listed(statuses=["queued", "running"]),
        "list label=seed:1003": _listed(labels=[("seed", "1003")]),
        "list label that none has": _listed(labels=[("team", "nobody")]),
        "list model_kind that none has": _listed(model_kind="convnet"),
        "list device=cpu": _listed(device="cpu"),
        "list created_after a day ago": _listed(created_after=now - timedelta(days=1)),
        "list created_before the oldest": _listed(created_before=now - timedelta(days=3650)),
        "reaper's sweep": _sweep,
        "metrics": _metrics,
        "fleet": _fleet,
        "count of the queue": _queued,
        "retention, nothing due": _retain,
    }


def measure(sizes: tuple[int, ...] = SIZES) -> dict[str, object]:
    """Median milliseconds of each operation by number of rows, and ratios to the smallest."""
    with service() as running:
        with simulated_fleet(running.url, mixed_fleet(4)):
            running.post(list(itertools.islice(mixed_requests(seed=1), ORIGINALS)))
            running.until_all_ended()
        running.api.terminate()
        running.api.wait()
        running.engine.dispose()
        urls = {size: _copied(running.url, size) for size in sizes}
        return asyncio.run(_measure(urls))


def _copied(url: URL, size: int) -> URL:
    """Create a copy of the given database with this many more finished benchmarks."""
    name = f"history_{size}"
    administration = create_engine(url.set(database="template1"), isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET max_wal_size = '8GB'"))
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {url.database}"))
    administration.dispose()
    engine = create_engine(url.set(database=name))
    with engine.begin() as connection:
        # Skips the foreign key check of each event's benchmark.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in COPY.split(";\n\n"):
            connection.execute(text(statement), {"copies": size, "originals": ORIGINALS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
    return url.set(database=name)


async def _measure(urls: dict[int, URL]) -> dict[str, object]:
    async with AsyncExitStack() as stack:
        subjects = [await _subject(stack, size, url) for size, url in urls.items()]
        for subject in subjects:
            await _rounds(subject, ROUNDS_FIRST)
        scans = {subject.size: await _sequential_scans(subject) for subject in subjects}
        milliseconds: dict[str, dict[int, list[float]]] = {}
        for number in range(ROUNDS):
            for subject in subjects[:: 1 if number % 2 else -1]:
                for name, seconds in (await _round(subject)).items():
                    milliseconds.setdefault(name, {}).setdefault(subject.size, []).append(1000 * seconds)
        return {
            "rows_besides": ORIGINALS,
            "rounds": ROUNDS,
            "operations": {name: _row(by_size) for name, by_size in milliseconds.items()},
            "sequential_scans_of_what_grows": {str(size): names for size, names in scans.items()},
        }


async def _subject(stack: AsyncExitStack, size: int, url: URL) -> Subject:
    database = await stack.enter_async_context(open_database(Settings(database_url=libpq_url(url)), pool_size=1))
    connector = SharedConnector(database)
    stack.push_async_callback(connector.close_async)
    queue = App(connector=connector)
    await stack.enter_async_context(queue.open_async())
    async with database.sessions.begin() as session:
        await workers.register(session, "w", uuid4(), H200)
        succeeded = "SELECT id FROM benchmarks WHERE status = 'succeeded' ORDER BY finished_at DESC LIMIT 1"
        sample: UUID = (await session.execute(text(succeeded))).scalar_one()
        stored = await benchmarks.report_gzip(session, sample)
    assert stored is not None
    report = Report.model_validate_json(gzip.decompress(stored))
    return Subject(size, database, queue, await queue.job_manager.register_worker(), sample, report)


async def _rounds(subject: Subject, rounds: int) -> None:
    for _ in range(rounds):
        await _round(subject)


async def _round(subject: Subject) -> dict[str, float]:
    """Seconds of every operation, run once."""
    taken = {}
    for name, operation in operations().items():
        began = time.perf_counter()
        await operation(subject)
        taken[name] = time.perf_counter() - began
    await subject.remove()
    return taken


async def _sequential_scans(subject: Subject) -> list[str]:
    """Operations with a statement whose plan scans a growing table sequentially."""
    scanning: set[str] = set()
    statements: list[tuple[str, Any]] = []

    def listen(
        connection: Connection, cursor: object, statement: str, parameters: object, context: object, many: bool
    ) -> None:
        statements.append((statement, parameters))

    engine = subject.database.engine.sync_engine
    for name, operation in operations().items():
        event.listen(engine, "before_cursor_execute", listen)
        await operation(subject)
        event.remove(engine, "before_cursor_execute", listen)
        for statement, parameters in statements:
            if statement.lstrip().startswith(("SELECT", "UPDATE", "DELETE")) and await _scans(
                subject, statement, parameters
            ):
                scanning.add(name)
        statements.clear()
    await subject.remove()
    return sorted(scanning)


async def _scans(subject: Subject, statement: str, parameters: object) -> bool:
    async with subject.database.sessions() as session:
        connection = await session.connection()
        plan = await connection.exec_driver_sql(f"EXPLAIN (FORMAT json) {statement}", parameters)  # type: ignore[arg-type]
        return any(
            node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
            for node in _nodes(plan.scalar_one()[0]["Plan"])
        )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def _row(by_size: dict[int, list[float]]) -> dict[str, dict[str, float]]:
    medians = {size: statistics.median(values) for size, values in by_size.items()}
    smallest = medians[min(medians)]
    return {
        "milliseconds": {str(size): round(value, 3) for size, value in medians.items()},
        "over_smallest": {str(size): round(value / smallest, 2) for size, value in medians.items()},
    }
