"""Decides the verdict of each requirement, of a comparison and of the report, with the reasons."""

from collections.abc import Sequence

from halftime.contract.precisions import leg_names
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.figures import Value, judged_figure
from halftime.contract.report.report import (
    AttestationCheck,
    Comparison,
    Difference,
    Leg,
    Requirement,
    RequirementStatus,
    Verdict,
)
from halftime.contract.report.requirements import (
    REQUIREMENTS,
    RequirementKind,
    metric_requirement,
    requirement_kind,
)
from halftime.contract.report.sensitivity import can_tell_apart, gain_of
from halftime.contract.report.trial import metrics_of
from halftime.contract.request.request import Requirements
from worker.comparison.estimates import judge_at_least, judge_below, judge_within
from worker.report.metrics import metric_of, predictions_of


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
            f"{name}: {_kind(requirement).sentence.format(requirement.threshold)} is required, "
            f"{_in_words(requirement, baseline)}"
            for requirement in comparison.requirements
            if requirement.status in {"fail", "inconclusive"}
        ]
    return worst([comparison.verdict for comparison in comparisons]), reasons


def judge_requirements(wanted: Requirements, comparison: Comparison, baseline: Leg) -> list[Requirement]:
    """Every requirement on a comparison's figures, with its own verdict."""
    metrics = metrics_of(baseline.trials[0].data if baseline.trials else None)
    names = [metric.name for metric in metrics]
    wanted = wanted.of_task(names)
    differences = wanted.max_metric_differences
    thresholds = [(kind, getattr(wanted, kind.name)) for kind in REQUIREMENTS.values()]
    known = [name for name in names if name in differences]
    in_order = [*known, *(name for name in differences if name not in known)]
    thresholds += [(metric_requirement(name), differences[name]) for name in in_order]
    return [_requirement(kind, threshold, comparison, baseline) for kind, threshold in thresholds]


def worst(statuses: Sequence[RequirementStatus | Verdict]) -> Verdict:
    """Returns `fail` if any is, else `inconclusive` if any is, else `pass`; `off` does not count."""
    if "fail" in statuses:
        return "fail"
    return "inconclusive" if "inconclusive" in statuses else "pass"


def _in_words(requirement: Requirement, baseline: Leg) -> str:
    kind, threshold = _kind(requirement), requirement.threshold
    if requirement.status == "fail":
        return "and not met"
    if requirement.measured is None or threshold is None:
        return "and not measured"
    if _status(kind, threshold, requirement.measured) == "pass":
        return f"and undecided: {_too_little_learned(kind, threshold, baseline)}"
    return f"and undecided: its interval contains the threshold{_too_coarse(kind, threshold, baseline)}"


def _too_little_learned(kind: RequirementKind, threshold: float, baseline: Leg) -> str:
    """Why legs that differ by less than the threshold prove nothing, and what to change."""
    gain = gain_of(kind, baseline)
    assert gain is not None
    metric = metric_of(baseline.trials[0], kind.metric or "")
    possible = metric.possible_gain if metric else None
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


def _too_coarse(kind: RequirementKind, threshold: float, baseline: Leg) -> str:
    """What to change where one prediction more or less is a difference as large as the threshold; else empty."""
    predictions = predictions_of(baseline.trials, kind.metric) if kind.metric else None
    if predictions is None or min(predictions) * threshold > 1:
        return ""
    return f". One of {min(predictions)} held-out predictions is as much: use more validation_samples"


def _kind(requirement: Requirement) -> RequirementKind:
    return requirement_kind(requirement.name, requirement.metric)


def _requirement(kind: RequirementKind, threshold: float | None, comparison: Comparison, baseline: Leg) -> Requirement:
    data = baseline.trials[0].data if baseline.trials else None
    measured = judged_figure(kind, data).read(comparison)
    status: RequirementStatus = "off"
    if threshold is not None:
        status = _status(kind, threshold, measured)
        if status == "pass" and not can_tell_apart(kind, threshold, baseline):
            status = "inconclusive"
    met = {"pass": True, "fail": False}.get(status)
    return Requirement.model_validate(
        {
            "name": kind.name,
            "metric": None if kind.name in REQUIREMENTS else kind.metric,
            "threshold": threshold,
            "measured": measured,
            "met": met,
            "status": status,
        }
    )


def _status(kind: RequirementKind, threshold: float, measured: Value) -> RequirementStatus:
    if isinstance(measured, Difference):
        return judge_within(measured, threshold)
    if isinstance(measured, Estimate):
        return (judge_at_least if kind.direction == "at_least" else judge_below)(measured, threshold)
    return "inconclusive"  # not measured, or without the interval that a judgement needs
