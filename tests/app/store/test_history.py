"""What is done again and again looks at no benchmarks that have ended, however many there are."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.settings import Settings
from app.store import benchmarks, workers
from app.store.benchmarks import Filters
from app.store.database.connection import open_database
from app.store.history import snapshot
from app.store.upkeep import reaper, retention
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from tests.conftest import new_database

pytestmark = pytest.mark.anyio

ENDED = 20_000
#: Rows that any of these may look at.
FEW = 200

CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)
REQUEST = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}, "labels": {"team": "ours"}}

#: One every minute, as they would come: ids in the order of time, as those of UUIDv7 are.
COPY = """
INSERT INTO benchmarks (id, version, status, request, labels, model_kind, device, priority, queue, attempt, created_at,
    queued_at, finished_at, warnings, last_event, logs)
SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7000800000000000000' ||
            substr(md5(at::text), 1, 1) AS uuid),
       1, 'succeeded', b.request, b.labels, b.model_kind, b.device, 0, b.queue, 1, at, at, at, '{}', 0, ''
FROM benchmarks b, (SELECT now() - make_interval(mins => n) AS at FROM generate_series(1, :ended) n) moments
"""


@pytest.fixture(scope="module")
async def history(postgres, migrated_template):
    """The name of a database with a history and one queued benchmark, to be copied."""
    with new_database(postgres, migrated_template) as url:
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        async with open_database(Settings(database_url=address), pool_size=1) as database:
            async with database.sessions.begin() as session:
                await benchmarks.submit(session, BenchmarkRequest.model_validate(REQUEST))
                await session.execute(text(COPY), {"ended": ENDED})
            async with database.reading() as session:
                await session.execute(text("VACUUM ANALYZE"))
        yield url.database


@pytest.fixture
async def aged(postgres, history):
    """A database with a history, and a worker."""
    with new_database(postgres, history) as url:
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        async with open_database(Settings(database_url=address), pool_size=1) as database:
            async with database.sessions.begin() as session:
                await workers.register(session, "w", uuid.uuid4(), CPU)
            yield database


async def rows_read(database):
    async with database.reading() as session:
        await session.execute(text("SELECT pg_stat_force_next_flush()"))
        query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'benchmarks'"
        return await session.scalar(text(query))


async def rows_read_by(database, operation):
    before = await rows_read(database)
    await operation(database)
    return await rows_read(database) - before


def listed(**narrowed):
    async def listed(database):
        async with database.reading() as session:
            await benchmarks.page(session, Filters(**narrowed), None, 50)

    return listed


async def sweep(database):
    await reaper.run_round(database.sessions, 2)


async def find(database):
    async with database.reading() as session:
        waiting = await session.scalar(text("SELECT id FROM benchmarks WHERE status = 'queued'"))
        assert (await benchmarks.find(session, waiting)).place.position == 1


async def metrics(database):
    async with database.reading() as session:
        await snapshot.take_snapshot(session)


async def count(database):
    async with database.reading() as session:
        assert await benchmarks.queued(session, 100) == 1


async def register(database):
    async with database.sessions.begin() as session:
        await workers.register(session, "w", uuid.uuid4(), CPU)


async def retain(database):
    await retention.apply(database.sessions, timedelta(days=365))


REGULAR = {
    "the reaper's sweep": sweep,
    "metrics": metrics,
    "the count of the queue": count,
    "registering a worker": register,
    "retention": retain,
    "a position": find,
    "the newest": listed(),
}


@pytest.mark.parametrize("operation", REGULAR.values(), ids=REGULAR)
async def test_what_is_done_regularly_looks_at_few_rows_under_any_plan(aged, operation):
    async with aged.reading() as session:
        name = await session.scalar(text("SELECT current_database()"))
        # PostgreSQL falls back to such plans for what comes often; when, depends on its guesses.
        await session.execute(text(f"ALTER DATABASE {name} SET plan_cache_mode = force_generic_plan"))
    await aged.engine.dispose()
    for _ in range(8):  # psycopg prepares a statement that comes often
        await operation(aged)
    assert await rows_read_by(aged, operation) < FEW


COMMON_AND_RARE = {
    "status": (listed(statuses=["succeeded"]), listed(statuses=["failed"])),
    "statuses": (listed(statuses=["succeeded", "failed"]), listed(statuses=["queued", "running"])),
    "model_kind": (listed(model_kind="mlp"), listed(model_kind="convnet")),
    "device": (listed(device="cpu"), listed(device="cuda")),
    "label": (listed(labels=[("team", "ours")]), listed(labels=[("team", "nobody")])),
    "created_before": [listed(created_before=datetime.now(UTC) + timedelta(days=days)) for days in (1, -30)],
    "created_after": [listed(created_after=datetime.now(UTC) + timedelta(days=days)) for days in (-30, 30)],
}


@pytest.mark.parametrize(("common", "rare"), COMMON_AND_RARE.values(), ids=COMMON_AND_RARE)
async def test_a_list_of_few_looks_at_few_rows_also_after_many_of_what_is_common(aged, common, rare):
    for _ in range(20):
        await common(aged)
    assert await rows_read_by(aged, rare) < FEW


async def test_times_at_the_ends_of_the_calendar_are_listed_by(client):
    made = (await client.post("/benchmarks", json=REQUEST)).json()["id"]
    for query, found in {
        "created_after=0001-01-01T00:00:00Z": [made],
        "created_before=0001-01-01T00:00:00Z": [],
        "created_after=9999-12-31T23:59:59Z": [],
        "created_before=9999-12-31T23:59:59Z": [made],
    }.items():
        response = await client.get(f"/benchmarks?{query}")
        assert response.status_code == 200, query
        assert [item["id"] for item in response.json()["items"]] == found, query


async def test_a_list_by_time_allows_for_an_api_whose_clock_is_wrong(database):
    wrong = datetime.now(UTC) - timedelta(hours=20)
    identity = uuid.UUID(int=int(wrong.timestamp() * 1000) << 80 | 0x7 << 76 | 0x8 << 60)
    async with database.sessions.begin() as session:
        await benchmarks.submit(session, BenchmarkRequest.model_validate(REQUEST), benchmark_id=identity)
    async with database.reading() as session:
        hour_ago = Filters(created_after=datetime.now(UTC) - timedelta(hours=1))
        rows, _ = await benchmarks.page(session, hour_ago, None, 50)
    assert [row.id for row in rows] == [identity]
