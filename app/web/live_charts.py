"""What a running benchmark has to show so far, from its events."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from app.web import drawing
from app.web.drawing import Frame
from halftime.contract.report.report import Estimate
from halftime.contract.resources.benchmark import Event, Progress

#: Of the room of a block, for the marks of its candidates.
SPREAD = 0.8


@dataclass(frozen=True)
class Trial:
    """One leg of one block, as it stands."""

    state: Literal["finished", "failed", "running"]
    median_step_seconds: float | None = None
    validation_loss: float | None = None
    loss_curve: tuple[float | None, ...] = ()
    steps: int | None = None
    code: str | None = None


@dataclass
class Live:
    """Trials by block (from 0) and leg, and after every block the speedup of each candidate."""

    trials: dict[tuple[int, str], Trial] = field(default_factory=dict)
    speedups: dict[int, dict[str, Estimate]] = field(default_factory=dict)

    @property
    def legs(self) -> list[str]:
        """In the order in which they first ran."""
        return list(dict.fromkeys(leg for _, leg in self.trials))

    @property
    def blocks(self) -> list[int]:
        """Those that have begun."""
        return sorted({block for block, _ in self.trials})


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


def so_far(events: Iterable[Event], progress: Progress | None) -> Live:
    """What the present attempt has, with the blocks that it took over from the one before."""
    live = earlier = Live()
    for event in events:
        if event.kind == "started":
            live, earlier = Live(), live if live.trials else earlier
        elif event.kind == "blocks_reused":
            live = _taken_over(earlier, event.data["blocks"])
        elif event.data.get("phase") == "measure":
            live.trials[event.data["block"], event.data["leg"]] = _trial(event.data)
        elif event.kind == "block_finished":
            found = event.data["speedups"].items()
            live.speedups[event.data["block"]] = {leg: Estimate.model_validate(value) for leg, value in found if value}
    if progress and progress.phase == "measure":
        live.trials.setdefault((max(progress.block - 1, 0), progress.leg), Trial("running"))
    return live


def loss_chart(live: Live) -> LossChart | None:
    """None before any trial told of its losses."""
    curves: defaultdict[str, list[tuple[float | None, ...]]] = defaultdict(list)
    for (_, leg), trial in live.trials.items():
        if trial.loss_curve:
            curves[leg].append(trial.loss_curve)
    means = {leg: [_mean(column) for column in zip(*found, strict=False)] for leg, found in curves.items()}
    values = [value for mean in means.values() for value in mean if value is not None]
    if not values:
        return None
    steps = max(trial.steps or len(trial.loss_curve) for trial in live.trials.values() if trial.loss_curve)
    axes = drawing.frame((0, steps), _padded(values))
    return LossChart(axes, [Series(leg, drawing.line(_over(steps, mean), axes)) for leg, mean in means.items()])


def interval_chart(live: Live, planned_blocks: int, required: float | None) -> IntervalChart | None:
    """None before any block told of a speedup. Wide intervals of the first blocks run out of the picture."""
    found = [(block, leg, speedup) for block, legs in live.speedups.items() for leg, speedup in legs.items()]
    if not found:
        return None
    last = live.speedups[max(block for block, _, _ in found)].values()
    ends = [end for speedup in last for end in (speedup.ci_low, speedup.ci_high)]
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


def _taken_over(earlier: Live, blocks: int) -> Live:
    return Live(
        {place: trial for place, trial in earlier.trials.items() if place[0] < blocks},
        {block: speedups for block, speedups in earlier.speedups.items() if block < blocks},
    )


def _trial(data: dict[str, Any]) -> Trial:
    if "code" in data:
        return Trial("failed", code=data["code"])
    curve = tuple(data.get("loss_curve") or ())
    return Trial("finished", data["median_step_seconds"], data["validation_loss"], curve, data.get("steps"))


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
