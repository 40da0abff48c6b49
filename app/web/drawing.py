"""Small live pictures as numbers for SVG: all in the units of a `viewBox`, y downwards."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from halftime.contract.report.report import Estimate

#: The box of a live chart, and its margins for labels.
WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 40

#: Of a range mark in a table.
MARK_WIDTH = 120

#: How many times a range mark's line goes beyond the smallest and the largest figure.
MARK_ROOM = 1.5

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The axes of a chart."""

    x: Scale
    y: Scale
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class RangeMark:
    """A figure with its interval, on a line where 1 is marked."""

    value: float
    low: float
    high: float
    one: float


def frame(x_range: tuple[float, float], y_range: tuple[float, float]) -> Frame:
    """Axes over two ranges, from left to right and from bottom to top."""
    x, y = _scale(x_range, (LEFT, WIDTH - RIGHT)), _scale(y_range, (HEIGHT - BOTTOM, TOP))
    return Frame(x, y, _ticks(x_range, x), _ticks(y_range, y))


def line(points: Iterable[tuple[float, float | None]], axes: Frame) -> str:
    """The path through points, broken where a value is missing."""
    steps, pen_is_down = [], False
    for x, y in points:
        if y is not None:
            steps.append(f"{'L' if pen_is_down else 'M'}{axes.x(x):.1f} {axes.y(y):.1f}")
        pen_is_down = y is not None
    return "".join(steps)


def range_marks(estimates: Sequence[Estimate | None]) -> list[RangeMark | None]:
    """Marks on one logarithmic line for all, so that a column of them can be compared by eye.

    The line is as long as the figures need. An interval of few blocks, which may reach from nothing to anything, runs
    off its ends instead of making all others points.
    """
    figures = [1.0, *(found.value for found in estimates if found is not None)]
    at = _scale((math.log(min(figures) / MARK_ROOM), math.log(max(figures) * MARK_ROOM)), (0, MARK_WIDTH))
    return [_mark(found, at) if found else None for found in estimates]


def _mark(found: Estimate, at: Scale) -> RangeMark:
    places = (max(place, 1e-9) for place in (found.value, found.ci_low, found.ci_high, 1.0))
    return RangeMark(*(round(min(max(at(math.log(place)), 0), MARK_WIDTH), 1) for place in places))


def _scale(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    begin, end = domain
    width = (end - begin) or 1.0
    return lambda value: pixels[0] + (value - begin) / width * (pixels[1] - pixels[0])


def _ticks(domain: tuple[float, float], scale: Scale, count: int = 5) -> list[Tick]:
    """Round numbers inside a range, `count` or so."""
    begin, end = domain
    rough = ((end - begin) or 1.0) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(begin / step - 1e-9)
    places = [number * step for number in range(first, math.floor(end / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [Tick(round(scale(place), 1), f"{place:.{digits}f}") for place in places]
