"""The placement of direct labels."""

from collections.abc import Sequence


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Moves places up so that each is at least `gap` above the next lower one."""
    moved: dict[int, float] = {}
    last = float("-inf")
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        last = moved[index] = max(places[index], last + gap)
    return [moved[index] for index in range(len(places))]
