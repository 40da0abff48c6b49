"""Workers: registration, heartbeats, and the queues that the fleet serves."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, and_, any_, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import LateralFromClause

from app.store.database.tables import ACTIVE, BenchmarkRow, WorkerRow
from app.store.queue import queues_of
from halftime import __version__
from halftime.contract.precisions import DeviceKind
from halftime.contract.resources.worker import Quarantine, Worker, WorkerDevice, WorkerState

#: A worker counts as dead if its last heartbeat, or the lease it holds, is older.
LEASE = timedelta(seconds=15)

#: How long CUDA workers may be offline before benchmarks that need one fail.
CUDA_ABSENCE = timedelta(seconds=120)


@dataclass(frozen=True)
class Fleet:
    """The availability of workers."""

    any_live: bool
    cuda_seen: bool

    @property
    def lacks_cuda(self) -> bool:
        """Whether workers are online, but none of them has CUDA."""
        return self.any_live and not self.cuda_seen


def is_live() -> ColumnElement[bool]:
    """Returns the condition that a worker is live."""
    return and_(WorkerRow.online, WorkerRow.last_heartbeat > func.now() - LEASE)


async def fleet(session: AsyncSession) -> Fleet:
    """Returns the fleet's current availability. A quarantined GPU counts, because its quarantine may end."""
    cuda_seen = and_(WorkerRow.device_kind == "cuda", WorkerRow.last_heartbeat > func.now() - CUDA_ABSENCE)
    query = select(func.coalesce(func.bool_or(is_live()), False), func.coalesce(func.bool_or(cuda_seen), False))
    any_live, seen = (await session.execute(query)).one()
    return Fleet(any_live=any_live, cuda_seen=seen)


async def register(session: AsyncSession, worker_id: str, session_id: UUID, device: WorkerDevice) -> None:
    """Registers a worker, or takes over the row of its predecessor, whose leases expire immediately."""
    values = {
        "session": session_id,
        "device_name": device.name,
        "device_kind": device.kind,
        "gpu": device.gpu,
        "memory_bytes": device.memory_bytes,
        "queues": queues_of(device),
        "online": True,
        "current_benchmark": None,
        "started_at": func.now(),
        "last_heartbeat": func.now(),
        "halftime_version": __version__,
        **_measurements(device),
    }
    statement = insert(WorkerRow).values(id=worker_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=[WorkerRow.id], set_=values))
    orphans = update(BenchmarkRow).where(BenchmarkRow.worker_id == worker_id, BenchmarkRow.status.in_(ACTIVE))
    await session.execute(orphans.values(lease_expires_at=func.now()))


async def enter_measurements(session: AsyncSession, worker_id: str, session_id: UUID, device: WorkerDevice) -> None:
    """Stores what was measured of the device if it was not known at registration."""
    mine = update(WorkerRow).where(WorkerRow.id == worker_id, WorkerRow.session == session_id)
    await session.execute(mine.values(**_measurements(device)))


async def heartbeat(
    session: AsyncSession, worker_id: str, session_id: UUID, current: UUID | None, quarantine_reason: str | None = None
) -> bool | None:
    """Records a heartbeat with the current benchmark and the state of the device. Returns whether it is draining.

    Returns None if another process has taken over the worker's row.
    """
    since = func.coalesce(WorkerRow.quarantined_since, func.now()) if quarantine_reason else None
    mine = update(WorkerRow).where(WorkerRow.id == worker_id, WorkerRow.session == session_id)
    result = await session.execute(
        mine.values(
            last_heartbeat=func.now(),
            online=True,
            current_benchmark=current,
            quarantine_reason=quarantine_reason,
            quarantined_since=since,
        ).returning(WorkerRow.draining)
    )
    return result.scalar_one_or_none()


async def retire(session: AsyncSession, worker_id: str, session_id: UUID) -> None:
    """Marks a worker as offline when it shuts down."""
    mine = update(WorkerRow).where(WorkerRow.id == worker_id, WorkerRow.session == session_id)
    await session.execute(mine.values(online=False, current_benchmark=None))


async def set_draining(session: AsyncSession, worker_id: str, draining: bool) -> Worker | None:
    """Starts or ends the draining of a worker; returns None for an unknown one."""
    await session.execute(update(WorkerRow).where(WorkerRow.id == worker_id).values(draining=draining))
    result = (await session.execute(select(WorkerRow, _state()).where(WorkerRow.id == worker_id))).one_or_none()
    return None if result is None else _worker(*result)


async def takes_none(session: AsyncSession, worker_id: str) -> bool:
    """Whether a worker must not take benchmarks, because it is draining or quarantined."""
    is_unavailable = or_(WorkerRow.draining, _is_quarantined())
    return bool(await session.scalar(select(is_unavailable).where(WorkerRow.id == worker_id)))


def serving(queue: ColumnElement[str] | InstrumentedAttribute[str]) -> ScalarSelect[int]:
    """Returns a subquery that counts the live workers serving a queue."""
    return select(func.count()).select_from(WorkerRow).where(_takes(queue)).scalar_subquery()


def queue_lists(queue: ColumnElement[str] | InstrumentedAttribute[str]) -> LateralFromClause:
    """Returns a subquery with the queue lists of the live workers serving a queue: one row per kind of device."""
    return select(WorkerRow.queues).where(_takes(queue)).distinct().correlate_except(WorkerRow).lateral()


async def serving_devices(session: AsyncSession, queue_name: str) -> list[WorkerDevice]:
    """Returns the devices of the live workers serving a queue."""
    rows = await session.scalars(select(WorkerRow).where(_takes(literal(queue_name))).order_by(WorkerRow.id))
    return [_device(row) for row in rows]


async def device_of(session: AsyncSession, worker_id: str) -> WorkerDevice | None:
    """Returns the device of a worker; None for an unknown one."""
    row = await session.get(WorkerRow, worker_id)
    return None if row is None else _device(row)


def _takes(queue: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return and_(is_live(), ~WorkerRow.draining, ~_is_quarantined(), any_(WorkerRow.queues) == queue)


async def quarantined(session: AsyncSession, queue: str) -> int:
    """Counts the live workers that would serve a queue if they were not quarantined."""
    would = and_(is_live(), ~WorkerRow.draining, _is_quarantined(), any_(WorkerRow.queues) == queue)
    return (await session.execute(select(func.count()).select_from(WorkerRow).where(would))).scalar_one()


#: ID, reason and start of every quarantine, including those of stopped workers.
QUARANTINED = (
    select(WorkerRow.id, WorkerRow.quarantine_reason, WorkerRow.quarantined_since)
    .where(WorkerRow.quarantine_reason.is_not(None))
    .order_by(WorkerRow.id)
)


async def all_workers(session: AsyncSession) -> list[Worker]:
    """Returns the workers of the last seven days, live ones first, then by ID."""
    rows = await session.execute(select(WorkerRow, _state()).order_by(is_live().desc(), WorkerRow.id))
    return [_worker(row, worker_state) for row, worker_state in rows]


async def by_state(session: AsyncSession) -> list[tuple[DeviceKind, WorkerState, int, float]]:
    """Counts the workers by device and state, with the seconds since the oldest last heartbeat."""
    state = _state().label("state")
    silent_seconds = func.extract("epoch", func.clock_timestamp() - func.min(WorkerRow.last_heartbeat))
    query = select(WorkerRow.device_kind, state, func.count(), silent_seconds).group_by(WorkerRow.device_kind, state)
    rows = await session.execute(query)
    return [(cast("DeviceKind", kind), worker_state, count, float(age)) for kind, worker_state, count, age in rows]


def _is_quarantined() -> ColumnElement[bool]:
    return WorkerRow.quarantine_reason.is_not(None)


def _state() -> ColumnElement[WorkerState]:
    return case(
        (~is_live(), "offline"),
        (WorkerRow.draining, "draining"),
        (_is_quarantined(), "quarantined"),
        (WorkerRow.current_benchmark.is_not(None), "busy"),
        else_="idle",
    )


def _quarantine(row: WorkerRow) -> Quarantine | None:
    if row.quarantine_reason is None or row.quarantined_since is None:
        return None
    return Quarantine(reason=row.quarantine_reason, since=row.quarantined_since)


def _measurements(device: WorkerDevice) -> dict[str, Any]:
    """Values of the columns that hold what the worker measured of its device."""
    return device.model_dump(mode="json", include={"precisions", "ceilings"})


def _device(row: WorkerRow) -> WorkerDevice:
    return WorkerDevice.model_validate(
        {
            "name": row.device_name,
            "kind": row.device_kind,
            "gpu": row.gpu,
            "memory_bytes": row.memory_bytes,
            "precisions": row.precisions,
            "ceilings": row.ceilings,
        }
    )


def _worker(row: WorkerRow, state: WorkerState) -> Worker:
    return Worker(
        id=row.id,
        device=_device(row),
        state=state,
        current_benchmark=str(row.current_benchmark) if row.current_benchmark and state != "offline" else None,
        started_at=row.started_at,
        last_heartbeat=row.last_heartbeat,
        version=row.halftime_version,
        quarantine=_quarantine(row),
    )
