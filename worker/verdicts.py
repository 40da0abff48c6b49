"""Verdicts: of a requirement, of a comparison, of a report, and why."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from app.contract.report import (
    AttestationCheck,
    Comparison,
    Difference,
    Estimate,
    Leg,
    Requirement,
    RequirementStatus,
    Verdict,
)
from app.contract.request import Requirements
from worker.statistics import judge_at_least, judge_within

Measured = TypeVar("Measured", Estimate, Difference)


def judge(
    comparisons: list[Comparison], baseline: Leg, failed_checks: Sequence[AttestationCheck]
) -> tuple[Verdict, list[str]]:
    """The report's verdict, and in words why it is not `pass`."""
    if failed_checks:
        return "invalid", [
            f"{check.leg}: {check.name} should be {check.expected!r}, but was {check.observed!r}"
            for check in failed_checks
        ]
    if baseline.failure is not None:
        return "invalid", [f"The baseline {baseline.precision} could not be measured: {baseline.failure.detail}"]
    reasons = []
    for comparison in comparisons:
        name = comparison.candidate.precision
        if comparison.candidate.failure is not None:
            reasons.append(f"{name}: {comparison.candidate.failure.title}. {comparison.candidate.failure.detail}")
        reasons += [
            f"{name}: {requirement.name} {requirement.threshold:g} is {_in_words(requirement.status)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"} and requirement.threshold is not None
        ]
    return worst([comparison.verdict for comparison in comparisons]), reasons


def judge_requirements(
    wanted: Requirements,
    speedup: Estimate | None,
    memory: Estimate | None,
    accuracy: Difference | None,
    loss: Difference | None,
) -> list[Requirement]:
    """Every requirement with its own verdict."""
    return [
        _requirement("min_speedup", wanted.min_speedup, speedup, judge_at_least),
        _requirement("min_memory_reduction_percent", wanted.min_memory_reduction_percent, memory, judge_at_least),
        _requirement("max_accuracy_difference", wanted.max_accuracy_difference, accuracy, judge_within),
        _requirement("max_loss_difference", wanted.max_loss_difference, loss, judge_within),
    ]


def worst(statuses: Sequence[RequirementStatus | Verdict]) -> Verdict:
    """fail if any fails, else inconclusive if any is, else pass; what is switched off does not count."""
    if "fail" in statuses:
        return "fail"
    return "inconclusive" if "inconclusive" in statuses else "pass"


def _in_words(status: RequirementStatus) -> str:
    return "not met" if status == "fail" else "undecided: the interval holds the threshold, or there is none"


def _requirement(
    name: str,
    threshold: float | None,
    measured: Measured | None,
    judge_one: Callable[[Measured, float], RequirementStatus],
) -> Requirement:
    status: RequirementStatus = "off"
    if threshold is not None:
        status = "inconclusive" if measured is None else judge_one(measured, threshold)
    met = {"pass": True, "fail": False}.get(status)
    return Requirement.model_validate(
        {"name": name, "threshold": threshold, "measured": measured, "met": met, "status": status}
    )
