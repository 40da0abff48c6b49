"""Coordinates of the charts that templates draw in SVG, in the units of a `viewBox`, y downwards."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from halftime.contract.report.estimate import Estimate

#: Size of a live chart, and its margins for labels.
WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 40

#: Width of an interval bar in a table.
BAR_WIDTH = 120

#: Factor by which the scale of interval bars extends beyond the smallest and the largest value.
BAR_MARGIN = 1.5

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A labelled tick of an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The axes of a chart."""

    x: Scale
    y: Scale
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class IntervalBar:
    """Positions of a value, of its interval's limits, and of 1."""

    value: float
    low: float
    high: float
    one: float


def frame(x_range: tuple[float, float], y_range: tuple[float, float]) -> Frame:
    """Returns axes for two ranges, from left to right and from bottom to top."""
    x, y = _scale(x_range, (LEFT, WIDTH - RIGHT)), _scale(y_range, (HEIGHT - BOTTOM, TOP))
    return Frame(x, y, _ticks(x_range, x), _ticks(y_range, y))


def line(points: Iterable[tuple[float, float | None]], axes: Frame) -> str:
    """Returns the SVG path through points, interrupted at missing values."""
    steps, pen_is_down = [], False
    for x, y in points:
        if y is not None:
            steps.append(f"{'L' if pen_is_down else 'M'}{axes.x(x):.1f} {axes.y(y):.1f}")
        pen_is_down = y is not None
    return "".join(steps)


def interval_bars(estimates: Sequence[Estimate | None]) -> list[IntervalBar | None]:
    """Returns interval bars on one logarithmic scale, so that the bars of a column can be compared.

    The scale spans the values, not the intervals: the very wide intervals of few blocks are clipped, since they would
    compress all others.
    """
    values = [1.0, *(estimate.value for estimate in estimates if estimate is not None)]
    scale = _scale((math.log(min(values) / BAR_MARGIN), math.log(max(values) * BAR_MARGIN)), (0, BAR_WIDTH))
    return [_bar(estimate, scale) if estimate else None for estimate in estimates]


def _bar(estimate: Estimate, scale: Scale) -> IntervalBar:
    values = (max(value, 1e-9) for value in (estimate.value, estimate.ci_low, estimate.ci_high, 1.0))
    return IntervalBar(*(round(min(max(scale(math.log(value)), 0), BAR_WIDTH), 1) for value in values))


def _scale(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    begin, end = domain
    width = (end - begin) or 1.0
    return lambda value: pixels[0] + (value - begin) / width * (pixels[1] - pixels[0])


def _ticks(domain: tuple[float, float], scale: Scale, count: int = 5) -> list[Tick]:
    """Returns about `count` ticks at round numbers within a range."""
    begin, end = domain
    rough = ((end - begin) or 1.0) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(begin / step - 1e-9)
    values = [number * step for number in range(first, math.floor(end / step + 1e-9) + 1)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [Tick(round(scale(value), 1), f"{value:.{digits}f}") for value in values]
