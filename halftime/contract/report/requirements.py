"""The requirements that a benchmark can set, each on one figure of a comparison.

Verdicts, every format of a report and the form list them from this table. A new requirement is a field of
`Requirements` in the request with its default and bounds, and a name and an entry here.
"""

from dataclasses import dataclass
from typing import Literal

RequirementName = Literal[
    "min_speedup",
    "min_memory_reduction_percent",
    "max_accuracy_difference",
    "max_loss_difference",
    "max_metric_differences",
]


@dataclass(frozen=True)
class RequirementKind:
    """A requirement: the figure that it judges, and on which side of the threshold that must lie."""

    #: In the report, and the field of the request's `requirements` that holds the threshold.
    name: RequirementName
    #: A name in `comparison_figures`, which has the title, the unit and how it is read.
    figure: str
    #: at_least: the figure must reach the threshold. below: it must stay under it.
    direction: Literal["at_least", "below"]
    #: What is asked for, with a place for the threshold.
    sentence: str
    #: For a tolerance: the metric whose difference it limits, and that the baseline must have learned.
    metric: str | None = None

    @property
    def sign(self) -> str:
        """The direction as it stands before a threshold."""
        return "≥" if self.direction == "at_least" else "<"


#: Those with a field of their own in a request, in the order in which people read them.
REQUIREMENTS: dict[RequirementName, RequirementKind] = {
    kind.name: kind
    for kind in (
        RequirementKind("min_speedup", "speedup", "at_least", "a speedup of at least {:g}"),
        RequirementKind(
            "min_memory_reduction_percent",
            "memory_reduction_percent",
            "at_least",
            "a memory reduction of at least {:g} %",
        ),
        RequirementKind(
            "max_accuracy_difference",
            "accuracy_difference",
            "below",
            "an accuracy difference below {:g}",
            metric="accuracy",
        ),
        RequirementKind(
            "max_loss_difference",
            "loss_difference",
            "below",
            "a loss difference below {:g}",
            metric="loss",
        ),
    )
}


def metric_requirement(metric: str) -> RequirementKind:
    """The requirement that `max_metric_differences` sets on one metric."""
    words = metric.replace("_", " ")
    return RequirementKind(
        "max_metric_differences", f"{metric}_difference", "below", f"a difference of {words} below {{:g}}", metric
    )


def requirement_kind(name: RequirementName, metric: str | None) -> RequirementKind:
    """The requirement of a report's name and, for `max_metric_differences`, metric."""
    return REQUIREMENTS[name] if metric is None else metric_requirement(metric)
