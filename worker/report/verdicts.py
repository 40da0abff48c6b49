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
from halftime.contract.report.sensitivity import can_tell_apart, gain_of
from halftime.contract.request.request import Requirements
from worker.comparison.estimates import judge_at_least, judge_below, judge_within
from worker.report.legs import predictions_of


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
            f"{_in_words(requirement, baseline)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"}
        ]
    return worst([comparison.verdict for comparison in comparisons]), reasons


def judge_requirements(wanted: Requirements, comparison: Comparison, baseline: Leg) -> list[Requirement]:
    """Every requirement on a comparison's figures, with its own verdict."""
    return [_requirement(kind, getattr(wanted, kind.name), comparison, baseline) for kind in REQUIREMENTS.values()]


def worst(statuses: Sequence[RequirementStatus | Verdict]) -> Verdict:
    """Returns `fail` if any is, else `inconclusive` if any is, else `pass`; `off` does not count."""
    if "fail" in statuses:
        return "fail"
    return "inconclusive" if "inconclusive" in statuses else "pass"


def _in_words(requirement: Requirement, baseline: Leg) -> str:
    kind, threshold = REQUIREMENTS[requirement.name], requirement.threshold
    if requirement.status == "fail":
        return "and not met"
    if requirement.measured is None or threshold is None:
        return "and not measured"
    if _status(kind, threshold, requirement.measured) == "pass":
        return f"and undecided: {_too_little_learned(kind, threshold, baseline)}"
    return f"and undecided: its interval contains the threshold{_too_coarse(requirement, baseline)}"


def _too_little_learned(kind: RequirementKind, threshold: float, baseline: Leg) -> str:
    """Why legs that differ by less than the threshold prove nothing, and what to change."""
    gain = gain_of(kind, baseline)
    assert gain is not None
    possible = _possible_gain(kind, baseline)
    if possible is not None and possible <= threshold:
        remedy = f"No model can get beyond chance by more than {possible:.2g} here: lower {kind.name}"
    elif gain.value <= threshold:
        remedy = "Use more steps or a higher learning rate"
    else:
        remedy = "Use more validation samples or blocks"
    return (
        f"{baseline.precision}'s gain over chance is {gain.value:.2g} ({gain.ci_low:.2g} to {gain.ci_high:.2g}), so a "
        f"leg that learned nothing might meet it too. {remedy}"
    )


def _possible_gain(kind: RequirementKind, baseline: Leg) -> float | None:
    """How far the best possible model is from chance; None if unknown."""
    facts = baseline.trials[0].data
    by_gain = {
        "accuracy_above_chance": (facts.best_possible_accuracy, facts.chance_accuracy),
        "loss_below_chance": (facts.chance_loss, facts.best_possible_loss),
    }
    high, low = by_gain[kind.gain or ""]
    return None if high is None or low is None else high - low


def _too_coarse(requirement: Requirement, baseline: Leg) -> str:
    """What to change where one prediction more or less is a difference as large as the threshold; else empty."""
    predictions = predictions_of(baseline.trials)
    if requirement.name != "max_accuracy_difference" or requirement.threshold is None or predictions is None:
        return ""
    if min(predictions) * requirement.threshold > 1:
        return ""
    return f". One of {min(predictions)} held-out predictions is as much: use more validation_samples"


def _requirement(kind: RequirementKind, threshold: float | None, comparison: Comparison, baseline: Leg) -> Requirement:
    measured = COMPARISON_FIGURES[kind.figure].read(comparison)
    status: RequirementStatus = "off"
    if threshold is not None:
        status = _status(kind, threshold, measured)
        if status == "pass" and not can_tell_apart(kind, threshold, baseline):
            status = "inconclusive"
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
