"""What is old goes: raw samples and logs first, then all but a tombstone; never what has not ended."""

import gzip
import uuid
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import text

from app.background import queues
from app.main import create_app
from app.reports.markdown import to_markdown
from app.settings import Settings
from app.store import benchmarks, claims, sweeps, traces, workers
from app.store.upkeep import retention
from halftime.contract.event_data import Inspected
from halftime.contract.report.report import Report
from halftime.contract.resources.sweep import SweepRequest
from halftime.contract.resources.worker import WorkerDevice
from tests.app.acts import add_trace, claim, post, register
from tests.factories import comparison, profile, request, trial
from worker.comparison.blocks import compare
from worker.report.build import make_report

pytestmark = pytest.mark.anyio

KEEP = timedelta(days=10)
CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)


async def succeeded(database, days_ago, **more):
    """A benchmark with a report and logs that ended so long ago."""
    async with database.sessions.begin() as session:
        row = await benchmarks.submit(session, request().model_copy(update=more))
    async with database.sessions.begin() as session:
        held = await claims.take(session, row.id, row.queue_entry_id, "node:cpu", None)

    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec, profile=profile())

    report = make_report(str(row.id), await compare(comparison(), run_trial, lambda progress: None))
    async with database.sessions.begin() as session:
        await claims.record(session, held, Inspected(parameter_count=212), "a warning\n")
        await claims.succeed(session, held, report, claims.pack(report))
    await age(database, row.id, days_ago)
    return row.id


async def cancelled(database, days_ago):
    async with database.sessions.begin() as session:
        row = await benchmarks.submit(session, request())
        await benchmarks.cancel(session, row.id)
    await age(database, row.id, days_ago)
    return row.id


async def age(database, benchmark_id, days_ago):
    statement = text("UPDATE benchmarks SET finished_at = now() - make_interval(days => :days) WHERE id = :id")
    async with database.sessions.begin() as session:
        await session.execute(statement.bindparams(days=days_ago, id=benchmark_id))


async def left(database, table):
    async with database.sessions() as session:
        return (await session.scalars(text(f"SELECT id FROM {table} ORDER BY id"))).all()  # noqa: S608


async def test_what_is_older_than_the_retention_answers_410(client):
    database = client.app.state.database
    old, young = await succeeded(database, 11), await succeeded(database, 9)
    await retention.apply(database.sessions, KEEP)
    for path in ("", "/report", "/events", "/logs", "/webhook-deliveries"):
        response = await client.get(f"/benchmarks/{old}{path}")
        assert (response.status_code, response.json()["type"]) == (410, "/problems/purged"), path
        assert (await client.get(f"/benchmarks/{young}{path}")).status_code == 200
    assert (await client.get(f"/benchmarks/{uuid.uuid4()}")).status_code == 404
    async with database.sessions() as session:
        owners = await session.scalars(text("SELECT DISTINCT benchmark_id FROM events"))
        assert owners.all() == [young]


async def test_samples_go_before_figures(client):
    database = client.app.state.database
    benchmark_id = await succeeded(database, 6)
    path = f"/benchmarks/{benchmark_id}/report"
    before = await client.get(path)
    await retention.apply(database.sessions, KEEP)
    after = await client.get(path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.headers["ETag"] != before.headers["ETag"]
    whole, thinned = Report.model_validate(before.json()), Report.model_validate(after.json())
    assert (whole.samples_dropped, thinned.samples_dropped) == (False, True)
    assert thinned == whole.without_samples()
    for leg in (thinned.baseline, thinned.comparisons[0].candidate):
        assert leg.loss_curve
        assert all(one.step_seconds == one.loss_curve == one.gradient_norms == [] for one in leg.trials)
    assert (await client.get(f"/benchmarks/{benchmark_id}/logs")).text == retention.LOGS_DROPPED
    markdown = (await client.get(path, params={"format": "md"})).text
    told = "- Retention has deleted the raw samples of every step; the figures were computed from them.\n"
    assert told in markdown
    # Of a trial alone, its median step cannot be told any more.
    figures, expected = (text.replace(told, "").split("## Trials")[0] for text in (markdown, to_markdown(whole)))
    assert figures == expected


async def test_a_trace_that_retention_took_says_so(client):
    database = client.app.state.database
    benchmark_id = await succeeded(database, 6)
    path = f"/benchmarks/{benchmark_id}/trace?leg=bf16"
    await add_trace(client, {"id": str(benchmark_id)}, "bf16")
    assert (await client.get(path)).content == b"a trace"
    await retention.apply(database.sessions, KEEP)
    gone = await client.get(path)
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/no_trace")
    assert "HALFTIME_RETENTION_DAYS" in gone.json()["detail"]


async def test_samples_are_dropped_once(database):
    benchmark_id = await succeeded(database, 6)
    versions = []
    for _ in range(2):
        await retention.apply(database.sessions, KEEP)
        async with database.sessions() as session:
            versions.append((await benchmarks.get(session, benchmark_id)).version)
    assert versions[0] == versions[1]


async def test_what_is_younger_keeps_everything(client):
    database = client.app.state.database
    benchmark_id = await succeeded(database, 4)
    await add_trace(client, {"id": str(benchmark_id)}, "bf16")
    await retention.apply(database.sessions, KEEP)
    async with database.sessions() as session:
        stored = await benchmarks.report_gzip(session, benchmark_id)
        assert await benchmarks.logs(session, benchmark_id) == "a warning\n"
        assert await traces.get(session, benchmark_id, "bf16") == b"a trace"
    assert Report.model_validate_json(gzip.decompress(stored)).baseline.trials[0].step_seconds


@pytest.mark.parametrize("status", ["queued", "running", "cancelling"])
async def test_what_has_not_ended_is_never_touched(database, status):
    async with database.sessions.begin() as session:
        row = await benchmarks.submit(session, request())
    await age(database, row.id, 1000)
    async with database.sessions.begin() as session:
        await session.execute(text("UPDATE benchmarks SET status = :status, logs = 'kept'").bindparams(status=status))
    await retention.apply(database.sessions, KEEP)
    async with database.sessions() as session:
        assert await benchmarks.logs(session, row.id) == "kept"


async def test_many_processes_at_once_take_everything_in_batches(database, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    old = sorted([await cancelled(database, 11) for _ in range(7)])
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(retention.apply, database.sessions, KEEP)
    assert await left(database, "benchmarks") == []
    assert await left(database, "purged") == old


async def test_a_sweep_goes_with_the_last_of_its_benchmarks(client):
    database = client.app.state.database
    body = {"request": request().model_dump(mode="json"), "vary": {"batch_sizes": [8, 16]}}
    async with database.sessions.begin() as session:
        sweep = await sweeps.submit(session, SweepRequest.model_validate(body))
        await session.execute(text("UPDATE sweeps SET created_at = now() - interval '20 days'"))
        first, second = (await sweeps.get(session, sweep.id))[1]
        await benchmarks.cancel(session, first.id)
        await benchmarks.cancel(session, second.id)
    await age(database, first.id, 11)
    await retention.apply(database.sessions, KEEP)
    assert (await client.get(f"/sweeps/{sweep.id}")).json()["counts"] == {"cancelled": 1}
    await age(database, second.id, 11)
    await retention.apply(database.sessions, KEEP)
    response = await client.get(f"/sweeps/{sweep.id}")
    assert (response.status_code, response.json()["type"]) == (410, "/problems/purged")


async def test_what_a_client_deleted_stays_not_found(client):
    database = client.app.state.database
    benchmark_id = await cancelled(database, 11)
    await client.delete(f"/benchmarks/{benchmark_id}")
    await retention.apply(database.sessions, KEEP)
    assert (await client.get(f"/benchmarks/{benchmark_id}")).status_code == 404


async def test_a_worker_that_is_silent_for_long_is_forgotten_unless_it_is_drained_or_holds_a_benchmark(client):
    database = client.app.state.database
    for name in ("fresh", "gone", "drained", "held"):
        await register(client, worker_id=name)
    await claim(client, await post(client), "held")
    assert (await client.post("/workers/drained/drain")).status_code == 200
    await silence(database, retention.WORKERS_KEPT - timedelta(minutes=1), "gone", "drained", "held")
    await retention.forget_workers(database.sessions)
    assert await left(database, "workers") == ["drained", "fresh", "gone", "held"]
    await silence(database, retention.WORKERS_KEPT, "gone", "drained", "held")
    await retention.forget_workers(database.sessions)
    assert await left(database, "workers") == ["drained", "fresh", "held"]
    await register(client, worker_id="gone")
    assert "gone" in await left(database, "workers")


async def test_what_a_forgotten_worker_ran_still_names_it(client):
    database = client.app.state.database
    await register(client)
    benchmark_id = await succeeded(database, 20)
    await silence(database, retention.WORKERS_KEPT, "node:cpu")
    await retention.forget_workers(database.sessions)
    assert await left(database, "workers") == []
    assert (await client.get(f"/benchmarks/{benchmark_id}")).json()["worker"]["id"] == "node:cpu"
    assert (await client.get(f"/benchmarks/{benchmark_id}/report")).status_code == 200


async def silence(database, length, *names):
    """Makes it so long ago that these workers were heard of."""
    statement = text("UPDATE workers SET last_heartbeat = now() - CAST(:length AS interval) WHERE id = ANY(:ids)")
    async with database.sessions.begin() as session:
        await session.execute(statement.bindparams(length=length, ids=list(names)))


@pytest.mark.parametrize(("days", "kept"), [(10, False), (None, True)])
async def test_the_service_applies_its_setting_from_its_start(settings, database, monkeypatch, days, kept):
    monkeypatch.setattr(queues, "START_SECONDS", 0.01)
    benchmark_id = await cancelled(database, 11)
    async with database.sessions.begin() as session:
        await workers.register(session, "gone", uuid.uuid4(), CPU)
    await silence(database, retention.WORKERS_KEPT, "gone")
    app = create_app(Settings(database_url=settings.database_url, retention_days=days))
    rounds = text("SELECT count(*) FROM procrastinate_periodic_defers WHERE task_name = 'apply_retention'")
    busy = text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'apply_retention'")
    async with app.router.lifespan_context(app), database.sessions() as session:
        with anyio.fail_after(30):
            while not await session.scalar(rounds) or await session.scalar(busy):
                await anyio.sleep(0.02)
                await session.rollback()
    assert (benchmark_id in await left(database, "benchmarks")) is kept
    assert await left(database, "workers") == []
