"""The pictures of a running benchmark: losses over the steps, and speedups block by block."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from app.reports.live.state import LiveState
from app.web import drawing
from app.web.drawing import Frame

#: Of the room of a block, for the marks of its candidates.
SPREAD = 0.8


@dataclass(frozen=True)
class Series:
    """One leg's line through a chart."""

    leg: str
    path: str


@dataclass(frozen=True)
class LossChart:
    """The training loss (nats) of every leg over the steps, mean over the blocks so far."""

    axes: Frame
    series: list[Series]


@dataclass(frozen=True)
class Whisker:
    """A speedup after so many blocks, with its interval, in the units of the picture."""

    leg: str
    x: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalChart:
    """The speedup of every candidate after each block, beside 1 and what is required."""

    axes: Frame
    one: float
    required: float | None
    whiskers: list[Whisker]


def loss_chart(state: LiveState) -> LossChart | None:
    """None before any trial told of its losses."""
    trials = [trial for trial in state.finished() if trial.loss_curve]
    curves: defaultdict[str, list[list[float | None]]] = defaultdict(list)
    for trial in trials:
        curves[trial.leg].append(trial.loss_curve)
    means = {leg: [_mean(column) for column in zip(*found, strict=False)] for leg, found in curves.items()}
    values = [value for mean in means.values() for value in mean if value is not None]
    if not values:
        return None
    steps = max(trial.steps or len(trial.loss_curve) for trial in trials)
    axes = drawing.frame((0, steps), _padded(values))
    return LossChart(axes, [Series(leg, drawing.line(_over(steps, mean), axes)) for leg, mean in means.items()])


def interval_chart(state: LiveState, planned_blocks: int, required: float | None) -> IntervalChart | None:
    """None before any block told of a speedup. Wide intervals of the first blocks run out of the picture."""
    after_blocks = state.attempt.speedups.items()
    found = [(block, leg, speedup) for block, legs in after_blocks for leg, speedup in legs.items() if speedup]
    if not found:
        return None
    last = max(block for block, _, _ in found)
    ends = [end for block, _, speedup in found if block == last for end in (speedup.ci_low, speedup.ci_high)]
    shown = [1.0, *([required] if required else []), *(speedup.value for _, _, speedup in found), *ends]
    last_block = max(planned_blocks, *(block + 1 for block, _, _ in found))
    axes = drawing.frame((0.5, last_block + 0.5), _padded(shown))
    candidates = list(dict.fromkeys(leg for _, leg, _ in found))
    whiskers = [
        Whisker(
            leg,
            axes.x(block + 1 + SPREAD * ((candidates.index(leg) + 0.5) / len(candidates) - 0.5)),
            *(_inside(axes, end) for end in (speedup.value, speedup.ci_low, speedup.ci_high)),
        )
        for block, leg, speedup in found
    ]
    return IntervalChart(axes, axes.y(1.0), axes.y(required) if required else None, whiskers)


def _mean(column: Sequence[float | None]) -> float | None:
    values = [value for value in column if value is not None]
    return fmean(values) if len(values) == len(column) else None


def _over(steps: int, values: Sequence[float | None]) -> list[tuple[float, float | None]]:
    """Evenly picked values at the steps (from 1) that they are of."""
    apart = (steps - 1) / max(len(values) - 1, 1)
    return [(1 + number * apart, value) for number, value in enumerate(values)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """A range around values with room at both ends."""
    room = 0.08 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1.0
    return min(values) - room, max(values) + room


def _inside(axes: Frame, value: float) -> float:
    return min(max(axes.y(value), drawing.TOP), drawing.HEIGHT - drawing.BOTTOM)
