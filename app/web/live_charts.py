"""Charts of a running benchmark: training losses over the steps, and speedups after each block."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from app.reports.live.state import LiveState
from app.web import drawing
from app.web.drawing import Frame

#: Share of a block's width over which the points of its candidates are spread.
SPREAD = 0.8


@dataclass(frozen=True)
class Series:
    """The line of one leg."""

    leg: str
    path: str


@dataclass(frozen=True)
class LossChart:
    """Training loss of every leg over the steps, averaged over the blocks so far."""

    axes: Frame
    series: list[Series]
    unit: str


@dataclass(frozen=True)
class Whisker:
    """A speedup after a block, with its interval, in the units of the chart."""

    leg: str
    x: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """Speedup of every candidate after each block, with lines at 1 and at the required speedup."""

    axes: Frame
    one: float
    required: float | None
    whiskers: list[Whisker]


def loss_chart(state: LiveState) -> LossChart | None:
    """Returns None before the first trial with losses."""
    trials = [trial for trial in state.finished() if trial.loss_curve]
    curves: defaultdict[str, list[list[float | None]]] = defaultdict(list)
    for trial in trials:
        curves[trial.leg].append(trial.loss_curve)
    means = {leg: [_mean(column) for column in zip(*legs_curves, strict=False)] for leg, legs_curves in curves.items()}
    values = [value for mean in means.values() for value in mean if value is not None]
    if not values:
        return None
    steps = max(trial.steps or len(trial.loss_curve) for trial in trials)
    axes = drawing.frame((0, steps), _padded(values))
    series = [Series(leg, drawing.line(_at_steps(steps, mean), axes)) for leg, mean in means.items()]
    return LossChart(axes, series, state.loss_unit)


def interval_chart(state: LiveState, planned_blocks: int, required: float | None) -> IntervalChart | None:
    """Returns None before the first block with a speedup. Wide intervals of the first blocks are clipped."""
    after_blocks = state.attempt.speedups.items()
    points = [(block, leg, speedup) for block, legs in after_blocks for leg, speedup in legs.items() if speedup]
    if not points:
        return None
    last = max(block for block, _, _ in points)
    ends = [end for block, _, speedup in points if block == last for end in (speedup.ci_low, speedup.ci_high)]
    values = [1.0, *([required] if required else []), *(speedup.value for _, _, speedup in points), *ends]
    last_block = max(planned_blocks, *(block + 1 for block, _, _ in points))
    axes = drawing.frame((0.5, last_block + 0.5), _padded(values))
    candidates = list(dict.fromkeys(leg for _, leg, _ in points))
    whiskers = [
        Whisker(
            leg,
            axes.x(block + 1 + SPREAD * ((candidates.index(leg) + 0.5) / len(candidates) - 0.5)),
            *(_clipped(axes, end) for end in (speedup.value, speedup.ci_low, speedup.ci_high)),
        )
        for block, leg, speedup in points
    ]
    return IntervalChart(axes, axes.y(1.0), axes.y(required) if required else None, whiskers)


def _mean(column: Sequence[float | None]) -> float | None:
    values = [value for value in column if value is not None]
    return fmean(values) if len(values) == len(column) else None


def _at_steps(steps: int, values: Sequence[float | None]) -> list[tuple[float, float | None]]:
    """Pairs evenly sampled values with their steps, counted from 1."""
    spacing = (steps - 1) / max(len(values) - 1, 1)
    return [(1 + number * spacing, value) for number, value in enumerate(values)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """Returns the range of the values, extended at both ends."""
    padding = 0.08 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1.0
    return min(values) - padding, max(values) + padding


def _clipped(axes: Frame, value: float) -> float:
    return min(max(axes.y(value), drawing.TOP), drawing.HEIGHT - drawing.BOTTOM)
