"""Stores the traces of explained trials."""

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.store import traces
from app.store.claims import Claim
from halftime.contract.report.failure import Failure
from halftime.contract.report.trial import TrialResult

log = structlog.get_logger(__name__)

NOT_STORED = "The database did not store it; the worker's log has the reason."


async def store_trace(
    sessions: async_sessionmaker[AsyncSession],
    claim: Claim,
    leg: str,
    outcome: TrialResult | Failure,
    trace: bytes | None,
) -> TrialResult | Failure:
    """Stores the trace of a leg's trial, if it has a result, and returns that result.

    Tries once: a benchmark goes on without a trace that cannot be stored, and its result says so. Raises ClaimLost.
    """
    if trace is None or isinstance(outcome, Failure):
        return outcome
    try:
        async with sessions.begin() as session:
            await traces.keep(session, claim, leg, trace)
    except SQLAlchemyError as error:
        log.warning("trace not stored", error=str(error))
        return _without_trace(outcome)
    return outcome


def _without_trace(result: TrialResult) -> TrialResult:
    profile = result.profile and result.profile.model_copy(update={"trace_missing": NOT_STORED})
    return result.model_copy(update={"profile": profile})
