"""A speedup with its interval, drawn in a line of text."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from halftime.contract.report.report import Estimate

#: Of the threshold that an interval has not settled, has reached, has missed.
_COLOURS = {None: "yellow", True: "green", False: "red"}


@dataclass(frozen=True)
class Scale:
    """Speedups from one power of two to another, in equal steps of ratio: a half is as far from one as two is."""

    lowest: float
    highest: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "Scale":
        """From a half to two, or as much wider as the values need; it does not move while they stay within."""
        exponents = [math.log2(value) for value in values if value > 0 and math.isfinite(value)]
        return cls(2.0 ** min([-1, *map(math.floor, exponents)]), 2.0 ** max([1, *map(math.ceil, exponents)]))

    def cell(self, value: float, width: int) -> int:
        """The cell of a value; one beyond the scale has the cell next to its end."""
        if value <= 0:
            return -1
        share = math.log(value / self.lowest) / math.log(self.highest / self.lowest)
        return max(-1, min(width, round(share * (width - 1))))


def range_mark(measured: Estimate, threshold: float | None, scale: Scale, width: int) -> Text:
    """The interval as a bar with a dot at its value, on a scale that marks one and the threshold."""
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
    """Whether the whole interval reaches the threshold, or none of it does; null in between, and without one."""
    if threshold is None or measured.ci_low < threshold <= measured.ci_high:
        return None
    return measured.ci_low >= threshold
