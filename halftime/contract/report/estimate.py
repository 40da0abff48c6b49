"""A figure with its uncertainty."""

from halftime.contract.strict import Output


class Estimate(Output):
    """A figure with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float
