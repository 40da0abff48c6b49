"""How long steps took: a histogram of every leg, one above the other."""

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import altair as alt

from halftime.charts.theme import Chart, layered, leg_colour, rows, styled
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report

#: Of a leg's own range.
BINS = 40
#: Narrowest bin, of the width of the chart.
NARROWEST = 1 / 200
#: The slowest of a hundred steps may lie beyond the right edge, or everything else would be one line.
SHOWN = 0.99
#: Beyond this ratio of the slowest to the fastest, a step's time is drawn on a logarithmic axis.
FAR_APART = 6
ROW_HEIGHT = 62
#: Of a row, for the histogram; the rest is for its label.
TALLEST = 0.6


@dataclass(frozen=True)
class Samples:
    """All measured steps of a leg, sorted, in milliseconds."""

    leg: NamedLeg
    milliseconds: list[float]

    @property
    def last_shown(self) -> float:
        """The slowest step that is drawn."""
        return self.milliseconds[min(int(SHOWN * len(self.milliseconds)), len(self.milliseconds) - 1)]


def step_times(report: Report) -> Chart | None:
    """Every measured step of all trials, in bins; None where no steps are held."""
    found = [samples for leg in named_legs(report) if (samples := _samples(leg)).milliseconds]
    if not found:
        return None
    axis = _Axis(min(one.milliseconds[0] for one in found), max(one.last_shown for one in found))
    upwards = list(enumerate(reversed(found)))
    bins = [row for place, one in upwards for row in _bins(one, place, axis)]
    middles = [_middle(one, place) | {"at": axis.first} for place, one in upwards]
    return styled(_layers(bins, middles, axis), _words(found), _caption(found))


@dataclass(frozen=True)
class _Axis:
    """From the fastest step to the slowest that is drawn."""

    first: float
    last: float

    @property
    def is_logarithmic(self) -> bool:
        return self.last / self.first > FAR_APART

    def place(self, milliseconds: float) -> float:
        """Along the axis, in units in which it is even."""
        return math.log(milliseconds) if self.is_logarithmic else milliseconds

    def milliseconds(self, place: float) -> float:
        """At a place along the axis."""
        return math.exp(place) if self.is_logarithmic else place

    def channel(self, field: str) -> alt.X:
        kind: Literal["log", "linear"] = "log" if self.is_logarithmic else "linear"
        margin = 0.02 * (self.place(self.last) - self.place(self.first) or abs(self.place(self.last)))
        domain = [self.milliseconds(self.place(self.first) - margin), self.milliseconds(self.place(self.last) + margin)]
        scale = alt.Scale(type=kind, domain=domain, nice=False)
        axis = alt.Axis(tickCount=5, format="~r", labelOverlap="greedy")
        return alt.X(f"{field}:Q", title="Time of a step (ms)", scale=scale, axis=axis)


def _layers(bins: list[dict[str, Any]], middles: list[dict[str, Any]], axis: _Axis) -> alt.LayerChart:
    """The histograms, their medians, and their names above them."""
    colour, scale = leg_colour(), alt.Scale(domain=[0, len(middles)], nice=False)
    y, time = alt.Y("base:Q", axis=None, scale=scale), axis.channel("milliseconds")
    told = ["leg:N", alt.Tooltip("milliseconds:Q", format=".4g"), "steps:Q"]
    areas = alt.Chart(rows(bins)).mark_area(interpolate="step-after", opacity=0.75)
    rules = alt.Chart(rows(middles)).mark_rule(strokeWidth=2)
    names = alt.Chart(rows(middles)).mark_text(align="left", baseline="bottom", dy=-3)
    return layered(
        ROW_HEIGHT * len(middles),
        areas.encode(x=time, y=y, y2="top:Q", color=colour, detail="leg:N", tooltip=told),
        rules.encode(x=time, y=y, y2="top:Q", color=colour),
        names.encode(x=axis.channel("at"), y=alt.Y("top:Q", axis=None, scale=scale), text="label:N"),
    )


def _samples(leg: NamedLeg) -> Samples:
    seconds = [second for trial in leg.leg.trials for second in trial.step_seconds]
    return Samples(leg, sorted(1000 * second for second in seconds))


def _bins(samples: Samples, place: int, axis: _Axis) -> list[dict[str, Any]]:
    """The left edge of every bin, with its steps; the last has none and ends the drawing."""
    first, last = axis.place(samples.milliseconds[0]), axis.place(samples.last_shown)
    widest = axis.place(axis.last) - axis.place(axis.first) or abs(last)
    width = max((last - first) / BINS, widest * NARROWEST)
    edges = [axis.milliseconds(first + index * width) for index in range(int((last - first) / width) + 2)]
    below = [0, *(bisect.bisect_left(samples.milliseconds, edge) for edge in edges[1:])]
    steps = [after - before for before, after in pairwise(below)]
    named = {"leg": samples.leg.name, "precision": samples.leg.leg.precision, "base": place}
    return [
        {**named, "milliseconds": edge, "steps": count, "top": place + TALLEST * count / max(steps)}
        for edge, count in zip(edges, [*steps, 0], strict=True)
    ]


def _middle(samples: Samples, place: int) -> dict[str, Any]:
    median = 1000 * (samples.leg.leg.median_step_seconds or 0)
    return {
        "leg": samples.leg.name,
        "precision": samples.leg.leg.precision,
        "milliseconds": median,
        "base": place,
        "top": place + TALLEST,
        "label": f"{samples.leg.name}  median {median:.4g} ms",
    }


def _words(found: list[Samples]) -> str:
    told = [
        f"{one.leg.name} median {1000 * (one.leg.leg.median_step_seconds or 0):.4g} ms, from "
        f"{one.milliseconds[0]:.4g} to {one.milliseconds[-1]:.4g} ms over {len(one.milliseconds):,} steps"
        for one in found
    ]
    return f"Times of the measured steps of all trials: {'; '.join(told)}."


def _caption(found: list[Samples]) -> str:
    beyond = sum(len(one.milliseconds) - bisect.bisect_right(one.milliseconds, one.last_shown) for one in found)
    held = sum(len(one.milliseconds) for one in found)
    shown = f", but for the slowest {beyond:,}" if beyond else ""
    return f"All {held:,} measured steps{shown}: the higher, the more of a leg's steps took that long."
