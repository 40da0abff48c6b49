"""Every job goes to the workers that can run it, in the order of priorities, whatever else waits: by the queue's own
fetch, on a real PostgreSQL."""

import itertools
import random
import re
import uuid

import pytest
from procrastinate import App
from procrastinate.sql import queries
from sqlalchemy import text

from app.store import benchmarks, claims, workers
from app.store.queue import GIB, queue_of, queues_of
from halftime.contract.request.request import BenchmarkConfig, BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from worker.agent.queue import SharedConnector

pytestmark = pytest.mark.anyio


def gpu(name, memory_gib):
    return WorkerDevice(name="cuda:0", kind="cuda", gpu=name, memory_bytes=int(memory_gib * GIB))


H200, H100, CPU = (
    gpu("NVIDIA H200", 140.4),
    gpu("NVIDIA H100 80GB HBM3", 79.6),
    WorkerDevice.model_validate({"name": "cpu", "kind": "cpu", "gpu": None, "memory_bytes": 256 * GIB}),
)
DEVICES = [
    H200,
    H100,
    CPU,
    gpu("NVIDIA A100-SXM4-40GB", 39.6),
    gpu("NVIDIA L4", 22.4),
    gpu("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9.8),
    gpu("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 19.6),
]
WORDS = [None, "h200", "H100", "A100", "l4", "mig", "3g", "NVIDIA", "80gb", "80gib", "h2", "sxm4"]
SIZES = [None, 1, 10, 20, 22, 23, 40, 80, 81, 140, 141, 1024]


def suits(device, asked):
    """Whether a device may run a CUDA job, said without queues."""
    if device.kind != "cuda":
        return False
    names = re.split(r"[^a-z0-9]+", device.gpu.lower())
    large_enough = asked.min_gpu_memory_gib is None or device.memory_bytes / GIB + 0.5 > asked.min_gpu_memory_gib
    return large_enough and (asked.gpu is None or asked.gpu.lower() in names)


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.gpu or "CPU")
def test_a_worker_listens_for_a_cuda_job_if_and_only_if_its_device_suits(device):
    served = set(queues_of(device))
    for choice, word, size in itertools.product(("cuda", "auto"), WORDS, SIZES):
        asked = BenchmarkConfig(device=choice, gpu=word, min_gpu_memory_gib=size)
        assert (queue_of(asked, cuda_seen=True) in served) == suits(device, asked), asked


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.gpu or "CPU")
def test_cpu_jobs_are_for_cpus_and_auto_jobs_for_all_where_no_gpu_is_known(device):
    served = set(queues_of(device))
    assert (queue_of(BenchmarkConfig(device="cpu"), cuda_seen=True) in served) == (device.kind == "cpu")
    assert queue_of(BenchmarkConfig(device="auto"), cuda_seen=False) in served


WISHES = [
    {"device": "cuda"},
    {"device": "cuda", "gpu": "H200"},
    {"device": "cuda", "gpu": "H100"},
    {"device": "cuda", "min_gpu_memory_gib": 80},
    {"device": "cuda", "gpu": "H200", "min_gpu_memory_gib": 100},
    {"device": "cpu"},
]


@pytest.fixture
async def fetch(database):
    """What the queue's own fetch gives a worker of a device: the row's id, or None."""
    connector = SharedConnector(database)
    app = App(connector=connector)
    async with app.open_async():
        taker = await app.job_manager.register_worker()

        async def fetched(device):
            job = await app.job_manager.fetch_job(queues_of(device), taker)
            return job and uuid.UUID(job.task_kwargs["benchmark_id"])

        yield fetched
    await connector.close_async()


async def submit(database, priority=0, **wish):
    async with database.sessions.begin() as session:
        request = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "config": wish, "priority": priority})
        return await benchmarks.submit(session, request)


async def register(database, *devices):
    async with database.sessions.begin() as session:
        for number, device in enumerate(devices):
            await workers.register(session, f"w{number}", uuid.uuid4(), device)


@pytest.mark.parametrize("seed", range(3))
async def test_a_worker_gets_the_oldest_of_the_highest_priority_that_it_suits_and_none_only_if_there_is_none(
    database, fetch, seed
):
    draw = random.Random(seed)  # noqa: S311 # nothing secret is drawn
    await register(database, H200, H100, CPU)
    waiting = []
    for _ in range(60):
        priority = draw.choice([-5, 0, 0, 5])
        row = await submit(database, priority, **draw.choice(WISHES))
        waiting.append((-priority, row.queue_entry_id, row.queue, row.id))
    for _ in range(90):
        device = draw.choice([H200, H100, H100, CPU])
        fit = sorted(job for job in waiting if job[2] in queues_of(device))
        assert await fetch(device) == (fit[0][3] if fit else None)
        waiting = [job for job in waiting if job not in fit[:1]]
    assert len(waiting) < 30, "most were fetched, and some fetches found nothing"


async def test_an_idle_worker_finds_its_job_behind_a_thousand_that_it_cannot_run(database, fetch):
    await register(database, H200, H100)
    async with database.sessions.begin() as session:
        await session.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, priority) "
                "SELECT 'cuda-h200', 'run_benchmark', 100 FROM generate_series(1, 1000)"
            )
        )
    mine = await submit(database, device="cuda", min_gpu_memory_gib=80)
    assert await fetch(H100) == mine.id
    assert await fetch(H100) is None


async def test_what_fetches_is_planned_for_the_queues_it_is_asked_for(database):
    """For a list that is not known, PostgreSQL compares every waiting job with four hundred names in turn."""
    (function,) = set(re.findall(r"procrastinate_fetch_job_v\d+", queries["fetch_job"]))
    async with database.reading() as session:
        settings = await session.scalar(text("SELECT proconfig FROM pg_proc WHERE proname = :name"), {"name": function})
    assert settings == ["plan_cache_mode=force_custom_plan"]


async def positions(database, rows):
    async with database.reading() as session:
        return [(await benchmarks.find(session, row.id)).place.position for row in rows]


async def test_positions_count_across_the_queues_of_one_worker_and_agree_with_its_fetches(database, fetch):
    await register(database, H200)
    draw = random.Random(7)  # noqa: S311 # nothing secret is drawn
    rows = [await submit(database, draw.choice([0, 5]), **draw.choice(WISHES[:2])) for _ in range(12)]
    assert len({row.queue for row in rows}) == 2
    shown = dict(zip(await positions(database, rows), (row.id for row in rows), strict=True))
    assert [shown[place] for place in range(1, 13)] == [await fetch(H200) for _ in rows]


async def test_what_comes_back_goes_before_those_of_its_priority_that_have_not_run(database, fetch):
    await register(database, CPU)
    first, second, urgent = [await submit(database, priority, device="cpu") for priority in (0, 0, 1)]
    assert await positions(database, [urgent, first, second]) == [1, 2, 3]
    async with database.sessions.begin() as session:
        claim = await claims.take(session, second.id, second.queue_entry_id, "w0", None)
        await claims.requeue(session, claim)
    assert await positions(database, [urgent, second, first]) == [1, 2, 3]
    assert [await fetch(CPU) for _ in range(3)] == [urgent.id, second.id, first.id]


async def test_a_position_is_that_with_the_workers_who_have_the_fewest_before_it(database):
    await register(database, H200, H100, H100)
    for _ in range(3):
        await submit(database, device="cuda", gpu="H200")
    either, large = await submit(database, device="cuda"), await submit(database, device="cuda", gpu="H200")
    assert await positions(database, [either, large]) == [1, 5]


async def test_where_nobody_takes_a_job_its_position_is_that_in_its_own_queue(database):
    first, other, second = [await submit(database, gpu=gpu) for gpu in ("H200", "H100", "H200")]
    assert await positions(database, [first, other, second]) == [1, 1, 2]
