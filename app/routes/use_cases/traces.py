"""Traces of the legs of a benchmark."""

from uuid import UUID

import anyio.to_thread

from app import errors
from app.rendering.formats import parse_report
from app.reports.traces import missing_traces
from app.routes.use_cases.reports import load_report
from app.store import traces
from app.store.database.connection import Database
from halftime.contract.resources.problem import FieldError

#: The reason if the report has none, which was read before retention took the trace.
NOT_STORED = "It is not stored any more."


async def load_trace(database: Database, benchmark_id: UUID, leg: str) -> bytes:
    """Returns the stored trace of a leg: gzipped JSON.

    Raises NotFound, Purged, ReportNotReady, BenchmarkFailed, NoTrace, and Invalid for an unknown leg.
    """
    async with database.reading() as session:
        trace = await traces.get(session, benchmark_id, leg)
        if trace is not None:
            return trace
        stored = await load_report(session, benchmark_id)
    raise await anyio.to_thread.run_sync(_no_trace, stored, leg)


def _no_trace(stored: bytes, leg: str) -> errors.NoTrace | errors.Invalid:
    """Returns the error for a leg of a report, or of none, that has no trace."""
    missing = missing_traces(parse_report(stored))
    others = f"Legs with a trace: {', '.join(name for name, reason in missing.items() if reason is None) or 'none'}."
    if leg not in missing:
        fault = FieldError(loc="/query/leg", msg=f"must be one of {', '.join(missing)}", type="unknown_leg")
        return errors.Invalid(f"The report has no such leg. {others}", [fault])
    return errors.NoTrace(f"The leg has no trace. {missing[leg] or NOT_STORED} {others}")
