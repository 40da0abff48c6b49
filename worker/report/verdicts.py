"""Verdicts: of a requirement, of a comparison, of a report, and why."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from halftime.contract.precisions import leg_names
from halftime.contract.report.report import (
    AttestationCheck,
    Comparison,
    Difference,
    Estimate,
    Leg,
    Requirement,
    RequirementName,
    RequirementStatus,
    Verdict,
)
from halftime.contract.request.request import Requirements
from worker.comparison.estimates import judge_at_least, judge_within

#: What each requirement asks for.
REQUIRED: dict[RequirementName, str] = {
    "min_speedup": "a speedup of at least {:g}",
    "min_memory_reduction_percent": "a memory reduction of at least {:g} %",
    "max_accuracy_difference": "an accuracy difference below {:g}",
    "max_loss_difference": "a loss difference below {:g}",
}

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
    names = leg_names(baseline.precision, [comparison.candidate.precision for comparison in comparisons], control=False)
    for name, comparison in zip(names[1:], comparisons, strict=True):
        failure = comparison.candidate.failure
        if failure is not None:  # then nothing that was required could be measured
            reasons.append(f"{name}: {failure.title}. {failure.detail}")
            continue
        reasons += [
            f"{name}: {REQUIRED[requirement.name].format(requirement.threshold)} is required, {_in_words(requirement)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"}
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


def _in_words(requirement: Requirement) -> str:
    if requirement.status == "fail":
        return "and not met"
    return "and not measured" if requirement.measured is None else "and undecided: the interval holds it"


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
