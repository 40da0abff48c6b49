"""Draws a speedup with its interval as a line of text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from halftime.contract.report.estimate import Estimate

#: Colours of an interval around, above and below the threshold.
_COLOURS = {None: "yellow", True: "green", False: "red"}


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale between two powers of two: 0.5 and 2 are equally far from 1."""

    lowest: float
    highest: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Scale":
        """Spans 0.5 to 2, extended to the powers of two that enclose all values.

        It does not change while the values stay within it.
        """
        exponents = [math.log2(value) for value in values if value > 0 and math.isfinite(value)]
        return cls(2.0 ** min([-1, *map(math.floor, exponents)]), 2.0 ** max([1, *map(math.ceil, exponents)]))

    def cell(self, value: float, width: int) -> int:
        """Returns the cell of a value from 0 to `width` - 1; -1 below the scale, `width` above it."""
        if value <= 0:
            return -1
        share = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        return max(-1, min(width, round(share * (width - 1))))


def interval_bar(measured: Estimate, threshold: float | None, scale: Scale, width: int) -> Text:
    """Draws the interval as a bar with a dot at the value, on a scale with marks at 1 and at the threshold."""
    cells = [("·", "dim")] * width
    low, high = scale.cell(measured.ci_low, width), scale.cell(measured.ci_high, width)
    colour = _COLOURS[meets(measured, threshold)] if threshold is not None else "cyan"
    cells[scale.cell(1, width)] = ("┆", "dim")
    for cell in range(max(0, low), min(width, high + 1)):
        cells[cell] = ("━", colour)
    if threshold is not None:
        cells[min(width - 1, max(0, scale.cell(threshold, width)))] = ("│", "bold")
    for cell, end in ((low, "["), (high, "]")):
        if 0 <= cell < width and low != high:
            cells[cell] = (end, colour)
    cells[min(width - 1, max(0, scale.cell(measured.value, width)))] = ("●", f"bold {colour}")
    return Text.assemble("◂" if low < 0 else " ", *cells, "▸" if high >= width else " ")


def meets(measured: Estimate, threshold: float | None) -> bool | None:
    """Returns True if the whole interval reaches the threshold, False if none of it does, None otherwise."""
    if threshold is None or measured.ci_low < threshold <= measured.ci_high:
        return None
    return measured.ci_low >= threshold
