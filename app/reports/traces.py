"""Which legs of a report have a trace."""

from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import Leg, Report

DROPPED = "Retention has deleted it (HALFTIME_RETENTION_DAYS)."
NOT_PROFILED = "The leg was not profiled."


def missing_traces(report: Report) -> dict[str, str | None]:
    """Returns by the name of each leg, in a sentence, why it has no trace; None for a leg that has one."""
    reason = DROPPED if report.samples_dropped else None
    return {one.name: _why_missing(one.leg) or reason for one in named_legs(report)}


def traced_legs(report: Report) -> list[str]:
    """Returns the names of the legs that have a trace."""
    return [name for name, reason in missing_traces(report).items() if reason is None]


def _why_missing(leg: Leg) -> str | None:
    profiles = [trial.profile for trial in leg.measured_alone() if trial.profile]
    reason = profiles[0].trace_missing if profiles else leg.time_by_kind_missing or NOT_PROFILED
    return reason and f"{reason[:1].upper()}{reason[1:].rstrip('.')}."
