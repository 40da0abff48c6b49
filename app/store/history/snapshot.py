"""The data of `GET /metrics`: totals, queued and running benchmarks, and workers. Finished benchmarks are not read."""

from dataclasses import dataclass
from itertools import product
from typing import get_args

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import workers
from app.store.database.tables import ACTIVE, QUEUED, BenchmarkRow, TotalRow
from app.store.history import totals
from halftime.contract.precisions import DeviceKind
from halftime.contract.resources.worker import WorkerState

#: Queues shown in metrics. Queues for a certain GPU or memory size, whose names clients choose, are shown as one.
QUEUES = ("cpu", "auto", "cuda", "cuda-selected")

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """The benchmarks waiting in a queue."""

    depth: int
    oldest_age_seconds: float


@dataclass(frozen=True)
class Snapshot:
    """The state of the service at one time."""

    #: Totals by name, then by labels.
    totals: dict[str, dict[Labels, float]]
    queues: dict[str, Waiting]
    #: Running and cancelling benchmarks.
    active: dict[str, int]
    workers: dict[tuple[DeviceKind, WorkerState], int]
    heartbeat_ages_seconds: dict[WorkerState, float]

    def of(self, name: str) -> dict[Labels, float]:
        """Returns the totals of a name by their labels."""
        return dict.fromkeys(totals.ZEROS.get(name, []), 0.0) | self.totals.get(name, {})


async def take_snapshot(session: AsyncSession) -> Snapshot:
    """Reads everything in a few small statements."""
    fleet = await workers.by_state(session)
    return Snapshot(
        totals=await _totals(session),
        queues=await _queues(session),
        active=await _active(session),
        workers=dict.fromkeys(product(get_args(DeviceKind), get_args(WorkerState)), 0)
        | {(kind, state): count for kind, state, count, _ in fleet},
        heartbeat_ages_seconds={
            state: max(age for _, worker_state, _, age in fleet if worker_state == state)
            for state in {state for _, state, _, _ in fleet}
        },
    )


async def _totals(session: AsyncSession) -> dict[str, dict[Labels, float]]:
    values: dict[str, dict[Labels, float]] = {}
    for name, labels, value in await session.execute(select(TotalRow.name, TotalRow.labels, TotalRow.value)):
        values.setdefault(name, {})[tuple(labels)] = value
    return values


async def _queues(session: AsyncSession) -> dict[str, Waiting]:
    shown = case((BenchmarkRow.queue.startswith("cuda-"), "cuda-selected"), else_=BenchmarkRow.queue)
    oldest = func.extract("epoch", func.clock_timestamp() - func.min(BenchmarkRow.queued_at))
    query = select(shown, func.count(), oldest).where(BenchmarkRow.status == QUEUED).group_by(shown)
    waiting = {queue: Waiting(depth, float(age)) for queue, depth, age in await session.execute(query)}
    return dict.fromkeys(QUEUES, Waiting(0, 0.0)) | waiting


async def _active(session: AsyncSession) -> dict[str, int]:
    held = ("running", "cancelling")
    query = (
        select(BenchmarkRow.status, func.count()).where(BenchmarkRow.status.in_(ACTIVE)).group_by(BenchmarkRow.status)
    )
    return dict.fromkeys(held, 0) | dict((await session.execute(query)).all())
