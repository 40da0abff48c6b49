"""What a training task measures on held-out data."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import StringConstraints

from halftime.contract.strict import MaybeFloat, Output

#: Pattern of the name of a metric.
METRIC_NAME = "[a-z][a-z0-9_]{0,62}"

MetricName = Annotated[str, StringConstraints(pattern=f"^{METRIC_NAME}$")]

#: Metrics that reports, comparisons and requirements have fields of their own for.
NamedMetric = Literal["loss", "accuracy"]


class MetricFacts(Output):
    """One metric of a training task."""

    name: str
    #: For people, without the unit.
    title: str
    #: Empty for counts and fractions.
    unit: str
    better: Literal["higher", "lower"]
    #: Of the best possible model on this data; null if unknown.
    best_possible: float | None
    #: Of a model that has learned nothing; null if unknown.
    chance: float | None
    #: Whether each prediction counts as 0 or 1: a share of predictions has a known sampling error.
    is_share: bool = False

    @classmethod
    def named(cls, name: str) -> "MetricFacts":
        """A metric of which nothing but the name is known."""
        return cls(name=name, title=name.replace("_", " "), unit="", better="higher", best_possible=None, chance=None)

    @property
    def heading(self) -> str:
        """The title as it begins a line."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def short_title(self) -> str:
        """The title in a sentence that is about held-out data anyway."""
        return self.title.removeprefix("validation ")

    @property
    def possible_gain(self) -> float | None:
        """How far the best possible model is from chance; None if unknown."""
        if self.best_possible is None or self.chance is None:
            return None
        return abs(self.best_possible - self.chance)


class MetricValue(MetricFacts):
    """A metric of one trial."""

    value: MaybeFloat


#: The metrics of reports from before tasks had any of their own.
CLASSIFICATION = (
    MetricFacts(name="loss", title="validation loss", unit="nats", better="lower", best_possible=None, chance=None),
    MetricFacts(
        name="accuracy",
        title="validation accuracy",
        unit="",
        better="higher",
        best_possible=None,
        chance=None,
        is_share=True,
    ),
)


def further(metrics: Iterable[MetricFacts]) -> list[MetricFacts]:
    """The metrics that have no fields of their own in reports."""
    return [metric for metric in metrics if metric.name not in NamedMetric.__args__]  # type: ignore[attr-defined] # a Literal
