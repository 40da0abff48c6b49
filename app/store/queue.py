"""The queue: Procrastinate on our PostgreSQL. Names of queues, enqueueing in the caller's transaction, cancelling."""

import re
from datetime import datetime
from uuid import UUID

from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection

from halftime.contract.request.request import BenchmarkConfig
from halftime.contract.resources.worker import WorkerDevice

GIB = 2**30

#: The workers' one task: `run_benchmark(benchmark_id)`. The worker says what it does.
RUN_BENCHMARK = "run_benchmark"

#: A task of the API processes: `deliver_webhook(delivery_id)`.
DELIVER_WEBHOOK = "deliver_webhook"

#: The queue that every worker serves.
ANY_DEVICE = "auto"

#: The queues that the API processes serve.
WEBHOOKS, MAINTENANCE = "webhooks", "maintenance"


#: Enqueues on the caller's connection; a worker gives it a pool of its own to listen and fetch with.
queue_app = App(connector=PsycopgConnector())


def queue_of(config: BenchmarkConfig, *, cuda_seen: bool) -> str:
    """The queue that a request belongs to: `cpu`, `auto`, `cuda`, `cuda-h200`, `cuda-80gib`, `cuda-h200-80gib`.

    `auto` goes to CUDA workers where one has been seen lately, else to whoever comes, or, if not every GPU would do,
    to a CPU.
    """
    picky = config.gpu is not None or config.min_gpu_memory_gib is not None
    if config.device == "cpu":
        return "cpu"
    if config.device == "auto" and not cuda_seen:
        return "cpu" if picky else ANY_DEVICE
    return _cuda_queue(config.gpu.lower() if config.gpu else None, config.min_gpu_memory_gib)


def queues_of(device: WorkerDevice) -> list[str]:
    """Every queue that a device satisfies, for its worker to listen to."""
    if device.kind == "cpu":
        return ["cpu", ANY_DEVICE]
    words = re.findall(r"[a-z0-9]+", (device.gpu or "").lower())
    # A card sold as 80 GB reports a little less than 80 GiB.
    memory_gib = round((device.memory_bytes or 0) / GIB)
    return [ANY_DEVICE] + [
        _cuda_queue(word, size) for word in (None, *words) for size in (None, *range(1, memory_gib + 1))
    ]


def _cuda_queue(word: str | None, memory_gib: int | None) -> str:
    if word and re.fullmatch(r"\d+gib", word) and not memory_gib:
        memory_gib = 1  # a word that reads like a size must not be taken for one
    return "-".join(["cuda", *([word] if word else []), *([f"{memory_gib}gib"] if memory_gib else [])])


async def enqueue(
    connection: AsyncConnection, benchmark_id: UUID, queue: str, priority: int, *, came_back: bool
) -> int:
    """Adds a queue entry in the caller's transaction and returns its id: both commit, or neither.

    One that came back goes before those of its priority that did not: it has had its turn.
    """
    rank = 2 * priority + came_back
    deferrer = queue_app.configure_task(RUN_BENCHMARK, queue=queue, priority=rank, connection=connection)
    return await deferrer.defer_async(benchmark_id=str(benchmark_id))


async def enqueue_delivery(connection: AsyncConnection, delivery_id: UUID, due: datetime) -> int:
    """Adds a queue entry for an attempt at a webhook in the caller's transaction and returns its id."""
    deferrer = queue_app.configure_task(DELIVER_WEBHOOK, queue=WEBHOOKS, schedule_at=due, connection=connection)
    return await deferrer.defer_async(delivery_id=str(delivery_id))


async def abort(connection: AsyncConnection, entry_id: int) -> None:
    """Takes an entry out of the queue, or tells the worker that runs it to stop, when the caller commits."""
    await connection.execute("SELECT procrastinate_cancel_job_v1(%s, true, true)", [entry_id])


async def discard(connection: AsyncConnection, entry_id: int) -> None:
    """Removes an entry whose worker is gone, in the caller's transaction."""
    await connection.execute("DELETE FROM procrastinate_jobs WHERE id = %s", [entry_id])
