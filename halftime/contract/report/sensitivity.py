"""Whether a comparison could have found a difference: two legs that learned nothing are equal as well."""

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Leg
from halftime.contract.report.requirements import RequirementKind


def gain_of(kind: RequirementKind, leg: Leg) -> Estimate | None:
    """What a leg learned, in the metric that a tolerance is for; None if that is unknown or the kind is none."""
    return leg.gains_over_chance.get(kind.metric) if kind.metric else None


def can_tell_apart(kind: RequirementKind, tolerance: float, baseline: Leg) -> bool:
    """Whether a leg that learned nothing would differ from the baseline by more than the tolerance.

    The whole interval of what the baseline learned must lie beyond it (assay sensitivity: ICH E10, "Choice of Control
    Group and Related Issues in Clinical Trials", 2000, section 1.5, where the margin of a non-inferiority trial must
    not exceed the effect that the control is known to have). True where chance is unknown: nothing is then said.
    """
    gain = gain_of(kind, baseline)
    return gain is None or gain.ci_low > tolerance
