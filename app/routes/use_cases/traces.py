"""Traces of the legs of a benchmark."""

from collections.abc import Mapping
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

    What is stored may be of a trial that was repeated, while the one that counts has no trace: the report decides.
    Raises NotFound, Purged, ReportNotReady, BenchmarkFailed, NoTrace, and Invalid for an unknown leg.
    """
    async with database.reading() as session:
        stored = await load_report(session, benchmark_id)
        trace = await traces.get(session, benchmark_id, leg)
    missing = await anyio.to_thread.run_sync(lambda: missing_traces(parse_report(stored)))
    if trace is None or leg not in missing or missing[leg] is not None:
        raise _no_trace(missing, leg)
    return trace


def _no_trace(missing: Mapping[str, str | None], leg: str) -> errors.NoTrace | errors.Invalid:
    """Returns the error for a leg of a report, or of none, that has no trace."""
    others = f"Legs with a trace: {', '.join(name for name, reason in missing.items() if reason is None) or 'none'}."
    if leg not in missing:
        fault = FieldError(loc="/query/leg", msg=f"must be one of {', '.join(missing)}", type="unknown_leg")
        return errors.Invalid(f"The report has no such leg. {others}", [fault])
    return errors.NoTrace(f"The leg has no trace. {missing[leg] or NOT_STORED} {others}")
