"""Reports and logs of benchmarks."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.routes.use_cases import benchmarks as use_cases
from app.routes.use_cases.not_found import not_found
from app.routes.use_cases.retry_after import POLL_SECONDS
from app.store import benchmarks
from app.store.database.tables import BenchmarkRow
from halftime.contract.report.failure import Failure


async def load_report(session: AsyncSession, benchmark_id: UUID) -> bytes:
    """Returns the stored report: gzipped JSON. Raises NotFound, Purged, ReportNotReady, BenchmarkFailed."""
    row = await use_cases.get(session, benchmark_id)
    stored = await benchmarks.report_gzip(session, benchmark_id)
    if stored is None:
        raise _no_report(row)
    return stored


async def load_logs(session: AsyncSession, benchmark_id: UUID) -> str:
    """Returns what the trials wrote to standard error. Raises NotFound, Purged."""
    text = await benchmarks.logs(session, benchmark_id)
    if text is None:
        raise await not_found(session, benchmark_id)
    return text


def _no_report(row: BenchmarkRow) -> errors.Conflict:
    """Returns the error for a benchmark without a report."""
    if row.failure is not None:
        failure = Failure.model_validate(row.failure)
        return errors.BenchmarkFailed(f"{failure.title} ({failure.code}): {failure.detail}")
    if row.status == "cancelled":
        return errors.BenchmarkFailed("The benchmark was cancelled. Rerun it to get a report.")
    headers = {"Retry-After": str(POLL_SECONDS.get(row.status, POLL_SECONDS["running"]))}
    return errors.ReportNotReady(
        f"The benchmark is {row.status}; it has a report once it has succeeded.", headers=headers
    )
