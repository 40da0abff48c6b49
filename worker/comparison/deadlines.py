"""How long a trial may take before it counts as hanging."""

from worker.comparison.comparison_run import ComparisonRun, LegRun

#: A trial's deadline as a multiple of its leg's slowest trial.
DEADLINE_FACTOR = 10
#: Shortest deadline of a trial.
MIN_DEADLINE_SECONDS = 120.0


def deadline_seconds(comparison: ComparisonRun, leg: LegRun) -> float:
    """Ten times the leg's slowest trial, at least 120 s, at most the benchmark's timeout; the timeout for the first."""
    longest = max((trial.trial_seconds for trial in leg.measured_alone), default=None)
    timeout = comparison.request.config.timeout_seconds
    return timeout if longest is None else min(timeout, max(MIN_DEADLINE_SECONDS, DEADLINE_FACTOR * longest))
