"""What nobody looks after is moved on: bounded re-runs, typed failures, never a job that runs forever."""

import asyncio
import uuid

import pytest
from sqlalchemy import text

from app.store import benchmarks, claims, events, workers
from app.store.claims import ClaimLost
from app.store.upkeep import reaper
from halftime.contract.event_data import InternalFault
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Progress
from halftime.contract.resources.worker import WorkerDevice

pytestmark = pytest.mark.anyio

CPU = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "config": {"device": "cpu"}})
CUDA = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}})
A_PERIOD_AGO = "UPDATE reaper_turns SET began_at = now() - interval '3 seconds'"
AUTO = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "config": {"device": "auto"}})


async def submit(database, request=CPU):
    async with database.sessions.begin() as session:
        return await benchmarks.submit(session, request)


async def take(database, row):
    async with database.sessions.begin() as session:
        return await claims.take(session, row.id, row.queue_entry_id, "node:cpu", None)


async def sweep(database, max_attempts=2):
    await reaper.run_round(database.sessions, max_attempts)


async def read(database, row):
    async with database.sessions() as session:
        return await benchmarks.get(session, row.id)


async def execute(database, statement, **values):
    async with database.sessions.begin() as session:
        await session.execute(text(statement).bindparams(**values))


async def expire_lease(database):
    await execute(database, "UPDATE benchmarks SET lease_expires_at = now() - interval '1 second'")


async def heartbeat(database, kind, age="0 seconds"):
    device = WorkerDevice(name=kind, kind=kind, gpu=None, memory_bytes=None)
    async with database.sessions.begin() as session:
        await workers.register(session, f"node:{kind}", uuid.uuid4(), device)
    await execute(
        database,
        "UPDATE workers SET last_heartbeat = now() - CAST(:age AS text)::interval WHERE device_kind = :kind",
        age=age,
        kind=kind,
    )


async def test_a_lease_that_holds_is_left_alone(database):
    row = await submit(database)
    await take(database, row)
    await sweep(database)
    assert (await read(database, row)).status == "running"


async def test_a_lost_worker_s_benchmark_is_queued_again_under_a_new_entry(database):
    row = await submit(database)
    await take(database, row)
    await expire_lease(database)
    await sweep(database)
    again = await read(database, row)
    assert (again.status, again.attempt, again.worker_id) == ("queued", 1, None)
    assert again.queue_entry_id != row.queue_entry_id
    assert (await take(database, again)).attempt == 2


async def test_the_last_attempt_ends_as_worker_lost(database):
    row = await submit(database)
    for _ in range(2):
        await take(database, await read(database, row))
        await expire_lease(database)
        await sweep(database, max_attempts=2)
    ended = await read(database, row)
    assert ended.status == "failed"
    assert ended.failure["code"] == "worker_lost"


async def test_a_cancelling_benchmark_whose_worker_is_lost_is_cancelled(database):
    row = await submit(database)
    await take(database, row)
    async with database.sessions.begin() as session:
        await benchmarks.cancel(session, row.id)
    await expire_lease(database)
    await sweep(database)
    assert (await read(database, row)).status == "cancelled"


async def test_many_reapers_at_once_move_a_benchmark_on_once(database):
    import anyio

    row = await submit(database)
    await take(database, row)
    await expire_lease(database)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(sweep, database)
    async with database.sessions() as session:
        kinds = [event.kind for event in await events.list_after(session, row.id, 0, 100)]
        entries = await session.scalar(text("SELECT count(*) FROM procrastinate_jobs"))
    assert kinds.count("worker_lost") == 1
    assert entries == 1


async def test_a_worker_that_wakes_finds_its_claim_gone(database):
    row = await submit(database)
    frozen = await take(database, row)
    await expire_lease(database)
    await sweep(database)
    successor = await take(database, await read(database, row))
    progress = Progress(
        phase="measure", block=1, max_blocks=2, leg="fp32", step=1, total_steps=2, fraction=0.1, eta_seconds=None
    )
    failure = Failure.of(FailureCode.INTERNAL, "late")
    for write in (
        lambda session: claims.renew(session, frozen, progress),
        lambda session: claims.record(session, frozen, InternalFault(), "late"),
        lambda session: claims.fail(session, frozen, failure),
        lambda session: claims.requeue(session, frozen),
    ):
        with pytest.raises(ClaimLost):
            async with database.sessions.begin() as session:
                await write(session)
    after = await read(database, row)
    assert (after.status, after.attempt, after.failure) == ("running", successor.attempt, None)


async def test_an_expired_lease_cannot_be_renewed(database):
    row = await submit(database)
    claim = await take(database, row)
    await expire_lease(database)
    with pytest.raises(ClaimLost):
        async with database.sessions.begin() as session:
            await claims.renew(session, claim, None)


async def test_a_failure_of_a_cancelling_benchmark_cancels_it(database):
    row = await submit(database)
    claim = await take(database, row)
    async with database.sessions.begin() as session:
        await benchmarks.cancel(session, row.id)
    async with database.sessions.begin() as session:
        await claims.fail(session, claim, Failure.of(FailureCode.INTERNAL, "late"))
    assert (await read(database, row)).status == "cancelled"


async def test_a_benchmark_handed_back_does_not_lose_an_attempt(database):
    row = await submit(database)
    claim = await take(database, row)
    async with database.sessions.begin() as session:
        await claims.requeue(session, claim)
    again = await read(database, row)
    assert (again.status, again.attempt) == ("queued", 0)


async def test_an_entry_fetched_by_a_worker_that_died_is_replaced(database):
    row = await submit(database)
    await execute(database, "UPDATE procrastinate_jobs SET status = 'doing'")
    await execute(database, "UPDATE procrastinate_events SET at = now() - interval '1 minute'")
    await execute(database, "UPDATE benchmarks SET queued_at = now() - interval '1 minute'")
    await sweep(database)
    assert await take(database, await read(database, row)) is not None


async def end_without_a_word_to_the_queue(database, row):
    """What a worker leaves that dies between the end of its benchmark and that of its entry."""
    claim = await take(database, row)
    async with database.sessions.begin() as session:
        await claims.fail(session, claim, Failure.of(FailureCode.INTERNAL, "over"))
    await execute(database, "INSERT INTO procrastinate_workers DEFAULT VALUES")
    await execute(
        database, "UPDATE procrastinate_jobs SET status = 'doing', worker_id = (SELECT id FROM procrastinate_workers)"
    )


async def entries(database):
    async with database.sessions() as session:
        return await session.scalar(text("SELECT count(*) FROM procrastinate_jobs"))


@pytest.mark.parametrize(
    "death",
    [
        "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 minute'",
        "DELETE FROM procrastinate_workers",
    ],
    ids=["silent", "forgotten"],
)
async def test_the_entry_of_an_ended_benchmark_whose_worker_died_is_removed(database, death):
    await end_without_a_word_to_the_queue(database, await submit(database))
    await execute(database, death)
    await sweep(database)
    assert await entries(database) == 0


async def test_the_entry_of_an_ended_benchmark_whose_worker_lives_is_left_to_it(database):
    await end_without_a_word_to_the_queue(database, await submit(database))
    await sweep(database)
    assert await entries(database) == 1
    await execute(database, "UPDATE benchmarks SET finished_at = now() - interval '31 seconds'")
    await execute(database, "UPDATE procrastinate_jobs SET task_name = 'another'")
    await sweep(database)
    assert await entries(database) == 1


async def test_the_entry_of_a_benchmark_that_ended_long_ago_is_removed_though_its_worker_lives(database):
    await end_without_a_word_to_the_queue(database, await submit(database))
    await execute(database, "UPDATE benchmarks SET finished_at = now() - interval '31 seconds'")
    await sweep(database)
    assert await entries(database) == 0


async def test_the_entry_of_an_ended_benchmark_is_left_to_a_worker_that_hands_its_report_to_trackers(database):
    row = await submit(database)
    await end_without_a_word_to_the_queue(database, row)
    await execute(database, "UPDATE benchmarks SET finished_at = now() - interval '31 seconds'")
    await heartbeat(database, "cpu")
    await execute(database, "UPDATE workers SET current_benchmark = (SELECT id FROM benchmarks)")
    await sweep(database)
    assert await entries(database) == 1


async def test_what_lost_its_entry_has_waited_since_it_was_queued(database):
    row = await submit(database)
    await execute(database, "DELETE FROM procrastinate_jobs")
    await execute(database, "UPDATE benchmarks SET queued_at = now() - interval '1 hour'")
    before = (await read(database, row)).queued_at
    await sweep(database)
    again = await read(database, row)
    assert again.queue_entry_id not in {None, row.queue_entry_id}
    assert again.queued_at == before


async def test_the_entry_of_a_benchmark_under_way_is_left_alone_though_the_queue_forgot_the_worker(database):
    row = await submit(database)
    await take(database, row)
    await execute(database, "UPDATE procrastinate_jobs SET status = 'doing'")
    await sweep(database)
    assert await entries(database) == 1


async def test_an_entry_that_waits_is_left_alone(database):
    row = await submit(database)
    await execute(database, "UPDATE benchmarks SET queued_at = now() - interval '1 minute'")
    await sweep(database)
    assert (await read(database, row)).queue_entry_id == row.queue_entry_id


async def test_a_benchmark_nobody_takes_expires(database):
    row = await submit(database)
    await execute(database, "UPDATE benchmarks SET queued_at = now() - interval '2 days'")
    await sweep(database)
    ended = await read(database, row)
    assert ended.failure["code"] == "queue_expired"
    async with database.sessions() as session:
        assert await session.scalar(text("SELECT count(*) FROM procrastinate_jobs")) == 0


@pytest.mark.parametrize(("age", "status"), [("119 seconds", "queued"), ("121 seconds", "failed")])
async def test_a_queued_cuda_job_ends_when_cuda_has_been_away_for_two_minutes(database, age, status):
    row = await submit(database, CUDA)
    await heartbeat(database, "cpu")
    await heartbeat(database, "cuda", age)
    await sweep(database)
    ended = await read(database, row)
    assert ended.status == status
    assert status == "queued" or ended.failure["code"] == "cuda_unavailable"


async def test_an_auto_job_moves_to_the_cpu_when_cuda_goes_away(database):
    await heartbeat(database, "cuda")
    row = await submit(database, AUTO)
    await heartbeat(database, "cpu")
    await heartbeat(database, "cuda", "1 hour")
    await sweep(database)
    moved = await read(database, row)
    assert (row.queue, moved.queue, moved.status) == ("cuda", "auto", "queued")
    assert not moved.came_back, "others have waited there for longer"


async def test_a_restarted_worker_frees_what_its_predecessor_held(database):
    await heartbeat(database, "cpu")
    row = await submit(database)
    await take(database, row)
    await heartbeat(database, "cpu")
    await sweep(database)
    assert (await read(database, row)).status == "queued"


async def test_of_many_processes_one_runs_a_round_in_each_period(database):
    taken = await asyncio.gather(*(reaper.run_if_due(database.sessions, 2) for _ in range(5)))
    assert sorted(taken) == [False, False, False, False, True]
    await execute(database, A_PERIOD_AGO)
    assert await reaper.run_if_due(database.sessions, 2)


async def test_a_clock_that_was_set_back_stops_no_round(database):
    await execute(database, "UPDATE reaper_turns SET began_at = now() + interval '1 hour'")
    assert await reaper.run_if_due(database.sessions, 2)


async def test_a_process_that_froze_in_its_round_holds_up_one_round(database, monkeypatch):
    async def freeze(sessions, max_attempts):
        async with sessions.begin() as session:
            await session.execute(text("SELECT 1"))
            frozen.set()
            await asyncio.Event().wait()

    frozen = asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(reaper, "run_round", freeze)
        stuck = asyncio.create_task(reaper.run_if_due(database.sessions, 2))
        await frozen.wait()
    await execute(database, A_PERIOD_AGO)
    assert await reaper.run_if_due(database.sessions, 2)
    stuck.cancel()
    await asyncio.wait([stuck])
