"""The placement of direct labels and of the ticks of logarithmic axes."""

import math
from collections.abc import Sequence


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Moves places up so that each is at least `gap` above the next lower one."""
    moved: dict[int, float] = {}
    last = float("-inf")
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        last = moved[index] = max(places[index], last + gap)
    return [moved[index] for index in range(len(places))]


def round_ticks(low: float, high: float) -> list[float]:
    """Returns the powers of ten between two positive limits, less than two decades apart their multiples too."""
    factors = (1, 2, 5) if high / low < 100 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]
