"""Workers: drain and undrain."""

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.store.workers import set_draining
from halftime.contract.resources.worker import Worker


async def drain(session: AsyncSession, worker_id: str) -> Worker:
    """Lets a worker finish its benchmark and take no more. Raises NotFound."""
    return await _set_draining(session, worker_id, True)


async def undrain(session: AsyncSession, worker_id: str) -> Worker:
    """Lets a worker take benchmarks again. Raises NotFound."""
    return await _set_draining(session, worker_id, False)


async def _set_draining(session: AsyncSession, worker_id: str, draining: bool) -> Worker:
    async with session.begin():
        worker = await set_draining(session, worker_id, draining)
    if worker is None:
        raise errors.NotFound("No worker has this id. `GET /workers` lists the known workers.")
    return worker
