"""The comparison of two reports of the same work: changes between machines, drivers, versions, or days."""

from pydantic import Field

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import WorkKind
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.report import Verdict
from halftime.contract.strict import MaybeFloat, Output


class MetricChange(MetricFacts):
    """One metric on held-out data in both reports."""

    baseline: MaybeFloat
    contender: MaybeFloat


class KindChange(Output):
    """One kind of work and the share of a step that it takes in both reports; null in a report that lacks it."""

    kind: WorkKind
    baseline_share: float | None
    contender_share: float | None


class LegChange(Output):
    """One precision in both reports."""

    precision: PrecisionName
    #: Step time of the baseline / step time of the contender; above 1, the contender is faster. null without intervals.
    step_time_ratio: Estimate | None
    #: Steady peak of the contender / steady peak of the baseline.
    peak_memory_ratio: float | None
    baseline_validation_loss: MaybeFloat
    contender_validation_loss: MaybeFloat
    #: Every metric of the task, the loss among them.
    metrics: list[MetricChange] = Field(default=[])
    #: Where the time of a step goes, the largest share in either report first; empty if neither report explains it.
    kinds: list[KindChange] = Field(default=[])


class SpeedupChange(Output):
    """The speedup of one candidate over its own report's baseline leg, in both reports."""

    candidate: PrecisionName
    baseline: Estimate | None
    contender: Estimate | None
    #: Contender / baseline; an interval that contains 1 shows no change.
    ratio: Estimate | None


class EnvironmentDifference(Output):
    """A property of the environment that differs; null if a report does not state it."""

    name: str
    baseline: str | None
    contender: str | None


class ReportComparison(Output):
    """The comparison of two reports of the same work."""

    baseline_id: str
    contender_id: str
    baseline_verdict: Verdict
    contender_verdict: Verdict
    legs: list[LegChange]
    speedups: list[SpeedupChange]
    environment: list[EnvironmentDifference]
    #: Limitations of this comparison.
    warnings: list[str]
