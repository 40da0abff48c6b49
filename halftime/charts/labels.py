"""Where direct labels go."""

from collections.abc import Sequence


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """The places, moved up where they would come nearer than `gap` to the one below."""
    moved: dict[int, float] = {}
    last = float("-inf")
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        last = moved[index] = max(places[index], last + gap)
    return [moved[index] for index in range(len(places))]
