"""Decides the verdict of each requirement, of a comparison and of the report, with the reasons."""

from collections.abc import Sequence

from halftime.contract.precisions import leg_names
from halftime.contract.report.figures import COMPARISON_FIGURES, Value
from halftime.contract.report.report import (
    AttestationCheck,
    Comparison,
    Difference,
    Estimate,
    Leg,
    Requirement,
    RequirementStatus,
    Verdict,
)
from halftime.contract.report.requirements import REQUIREMENTS, RequirementKind
from halftime.contract.request.request import Requirements
from worker.comparison.estimates import judge_at_least, judge_below, judge_within


def judge(
    comparisons: list[Comparison], baseline: Leg, failed_checks: Sequence[AttestationCheck]
) -> tuple[Verdict, list[str]]:
    """Returns the report's verdict, and in words why it is not `pass`."""
    if failed_checks:
        return "invalid", [
            f"{check.leg}: {check.name} should be {check.expected!r}, but was {check.observed!r}"
            for check in failed_checks
        ]
    if baseline.failure is not None:
        return "invalid", [f"The baseline {baseline.precision} could not be measured: {baseline.failure.detail}"]
    reasons = []
    names = leg_names(baseline.precision, [comparison.candidate.precision for comparison in comparisons], control=False)
    for name, comparison in zip(names[1:], comparisons, strict=True):
        failure = comparison.candidate.failure
        if failure is not None:  # then nothing that was required could be measured
            reasons.append(f"{name}: {failure.title}. {failure.detail}")
            continue
        reasons += [
            f"{name}: {REQUIREMENTS[requirement.name].sentence.format(requirement.threshold)} is required, "
            f"{_in_words(requirement)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"}
        ]
    return worst([comparison.verdict for comparison in comparisons]), reasons


def judge_requirements(wanted: Requirements, comparison: Comparison) -> list[Requirement]:
    """Every requirement on a comparison's figures, with its own verdict."""
    return [_requirement(kind, getattr(wanted, kind.name), comparison) for kind in REQUIREMENTS.values()]


def worst(statuses: Sequence[RequirementStatus | Verdict]) -> Verdict:
    """Returns `fail` if any is, else `inconclusive` if any is, else `pass`; `off` does not count."""
    if "fail" in statuses:
        return "fail"
    return "inconclusive" if "inconclusive" in statuses else "pass"


def _in_words(requirement: Requirement) -> str:
    if requirement.status == "fail":
        return "and not met"
    return "and not measured" if requirement.measured is None else "and undecided: its interval contains the threshold"


def _requirement(kind: RequirementKind, threshold: float | None, comparison: Comparison) -> Requirement:
    measured = COMPARISON_FIGURES[kind.figure].read(comparison)
    status: RequirementStatus = "off"
    if threshold is not None:
        status = _status(kind, threshold, measured)
    met = {"pass": True, "fail": False}.get(status)
    return Requirement.model_validate(
        {"name": kind.name, "threshold": threshold, "measured": measured, "met": met, "status": status}
    )


def _status(kind: RequirementKind, threshold: float, measured: Value) -> RequirementStatus:
    if isinstance(measured, Difference):
        return judge_within(measured, threshold)
    if isinstance(measured, Estimate):
        return (judge_at_least if kind.direction == "at_least" else judge_below)(measured, threshold)
    return "inconclusive"  # not measured, or without the interval that a judgement needs
