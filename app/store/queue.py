"""The queue, based on Procrastinate: names of queues, enqueueing in the caller's transaction, cancelling."""

import re
from datetime import datetime
from uuid import UUID

from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection

from halftime.contract.request.request import BenchmarkConfig
from halftime.contract.resources.worker import WorkerDevice

GIB = 2**30

#: The workers' only task, `run_benchmark(benchmark_id)`, which the worker implements.
RUN_BENCHMARK = "run_benchmark"

#: A task of the API processes, `deliver_webhook(delivery_id)`.
DELIVER_WEBHOOK = "deliver_webhook"

#: The queue that every worker serves.
ANY_DEVICE = "auto"

#: The queues that the API processes serve.
WEBHOOKS, MAINTENANCE = "webhooks", "maintenance"


#: Enqueues on the caller's connection; a worker gives it a separate pool to listen and fetch with.
queue_app = App(connector=PsycopgConnector())


def queue_of(config: BenchmarkConfig, *, cuda_seen: bool) -> str:
    """Returns the queue of a request: `cpu`, `auto`, `cuda`, `cuda-h200`, `cuda-80gib`, `cuda-h200-80gib`.

    With device `auto`, a request goes to CUDA workers if one was online recently, else to any worker, or to a CPU if
    it requires a certain GPU.
    """
    requires_certain_gpu = config.gpu is not None or config.min_gpu_memory_gib is not None
    if config.device == "cpu":
        return "cpu"
    if config.device == "auto" and not cuda_seen:
        return "cpu" if requires_certain_gpu else ANY_DEVICE
    return _cuda_queue(config.gpu.lower() if config.gpu else None, config.min_gpu_memory_gib)


def queues_of(device: WorkerDevice) -> list[str]:
    """Returns every queue whose requirements a device meets, for its worker to listen to."""
    if device.kind == "cpu":
        return ["cpu", ANY_DEVICE]
    words = re.findall(r"[a-z0-9]+", (device.gpu or "").lower())
    # Rounded because a card sold as 80 GB reports slightly less than 80 GiB.
    memory_gib = round((device.memory_bytes or 0) / GIB)
    return [ANY_DEVICE] + [
        _cuda_queue(word, size) for word in (None, *words) for size in (None, *range(1, memory_gib + 1))
    ]


def _cuda_queue(word: str | None, memory_gib: int | None) -> str:
    if word and re.fullmatch(r"\d+gib", word) and not memory_gib:
        memory_gib = 1  # distinguishes a word that looks like a size from one
    return "-".join(["cuda", *([word] if word else []), *([f"{memory_gib}gib"] if memory_gib else [])])


async def enqueue(
    connection: AsyncConnection, benchmark_id: UUID, queue: str, priority: int, *, came_back: bool
) -> int:
    """Adds a queue entry in the caller's transaction and returns its ID.

    A benchmark that came back precedes others with its priority, because it was claimed before.
    """
    rank = 2 * priority + came_back
    deferrer = queue_app.configure_task(RUN_BENCHMARK, queue=queue, priority=rank, connection=connection)
    return await deferrer.defer_async(benchmark_id=str(benchmark_id))


async def enqueue_delivery(connection: AsyncConnection, delivery_id: UUID, due: datetime) -> int:
    """Adds a queue entry for a delivery attempt in the caller's transaction and returns its ID."""
    deferrer = queue_app.configure_task(DELIVER_WEBHOOK, queue=WEBHOOKS, schedule_at=due, connection=connection)
    return await deferrer.defer_async(delivery_id=str(delivery_id))


async def abort(connection: AsyncConnection, entry_id: int) -> None:
    """Removes an entry from the queue, or asks the worker that runs it to stop, when the caller commits."""
    await connection.execute("SELECT procrastinate_cancel_job_v1(%s, true, true)", [entry_id])


async def discard(connection: AsyncConnection, entry_id: int) -> None:
    """Removes an entry whose worker is gone, in the caller's transaction."""
    await connection.execute("DELETE FROM procrastinate_jobs WHERE id = %s", [entry_id])
