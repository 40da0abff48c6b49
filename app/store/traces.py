"""Traces of the legs of a benchmark: stored under a claim, one per leg."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.store.claims import Claim, held
from app.store.database.tables import BenchmarkRow, TraceRow


async def keep(session: AsyncSession, claim: Claim, leg: str, trace: bytes) -> None:
    """Stores the trace of a leg in place of an earlier one. Raises ClaimLost."""
    row = await held(session, claim)
    stored = insert(TraceRow).values(benchmark_id=row.id, leg=leg, data=trace)
    replaced = {"data": trace, "created_at": func.now()}
    await session.execute(stored.on_conflict_do_update(index_elements=["benchmark_id", "leg"], set_=replaced))


async def get(session: AsyncSession, benchmark_id: UUID, leg: str) -> bytes | None:
    """Returns the trace of a leg of a succeeded benchmark; None without one."""
    of_succeeded = select(TraceRow.data).join(BenchmarkRow).where(BenchmarkRow.status == "succeeded")
    return await session.scalar(of_succeeded.where(TraceRow.benchmark_id == benchmark_id, TraceRow.leg == leg))
