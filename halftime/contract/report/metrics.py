"""What a training task measures on held-out data."""

from typing import Literal

from halftime.contract.strict import Output


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
