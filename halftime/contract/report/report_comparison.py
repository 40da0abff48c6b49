"""Two reports of the same work side by side: what changed between machines, drivers, versions, or days."""

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.report import Estimate, Verdict
from halftime.contract.strict import MaybeFloat, Output


class LegChange(Output):
    """One precision in both reports."""

    precision: PrecisionName
    #: Step time of the baseline over that of the contender: above 1 the contender is faster. null without intervals.
    step_time_ratio: Estimate | None
    #: Steady peak of the contender over that of the baseline.
    peak_memory_ratio: float | None
    baseline_validation_loss: MaybeFloat
    contender_validation_loss: MaybeFloat


class SpeedupChange(Output):
    """What one candidate gains over its own report's baseline leg, in both."""

    candidate: PrecisionName
    baseline: Estimate | None
    contender: Estimate | None
    #: Contender / baseline: an interval that holds 1 shows no change.
    ratio: Estimate | None


class EnvironmentDifference(Output):
    """A fact of the environment that is not the same; null where a report does not say."""

    name: str
    baseline: str | None
    contender: str | None


class ReportComparison(Output):
    """Two reports of the same work."""

    baseline_id: str
    contender_id: str
    baseline_verdict: Verdict
    contender_verdict: Verdict
    legs: list[LegChange]
    speedups: list[SpeedupChange]
    environment: list[EnvironmentDifference]
    #: What a reader should know before believing it.
    warnings: list[str]
