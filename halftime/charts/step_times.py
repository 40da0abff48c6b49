"""Histograms of the step times that are compared, one per leg, above each other."""

import bisect
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import altair as alt

from halftime.charts.theme import Chart, layered, leg_colour, rows, styled
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report
from halftime.contract.report.slices import Pairing

#: Number of bins over a leg's own range.
BINS = 40
#: Width of the narrowest bin, as a share of the chart's width.
NARROWEST = 1 / 200
#: Share of a leg's steps that is shown; the slowest hundredth would compress the rest into a line.
SHOWN = 0.99
#: The axis is logarithmic if the ratio of the slowest to the fastest step is above this.
FAR_APART = 6
ROW_HEIGHT = 62
#: Share of a row's height for the histogram; the rest is for its label.
TALLEST = 0.6


@dataclass(frozen=True)
class Samples:
    """All steps of a leg that are compared, sorted, in milliseconds."""

    leg: NamedLeg
    milliseconds: list[float]

    @property
    def last_shown(self) -> float:
        """The time of the slowest step shown."""
        return self.milliseconds[min(int(SHOWN * len(self.milliseconds)), len(self.milliseconds) - 1)]


def step_times(report: Report) -> Chart | None:
    """Draws a histogram of all compared steps per leg; None if no step times are stored."""
    legs = [samples for leg in named_legs(report) if (samples := _samples(leg)).milliseconds]
    if not legs:
        return None
    axis = _Axis(min(leg.milliseconds[0] for leg in legs), max(leg.last_shown for leg in legs))
    upwards = list(enumerate(reversed(legs)))
    bins = [row for place, leg in upwards for row in _bins(leg, place, axis)]
    medians = [_median(leg, place) | {"at": axis.first} for place, leg in upwards]
    return styled(_layers(bins, medians, axis), _description(legs), _caption(legs, report.pairing))


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis, from the fastest step to the slowest one shown."""

    first: float
    last: float

    @property
    def is_logarithmic(self) -> bool:
        return self.last / self.first > FAR_APART

    def place(self, milliseconds: float) -> float:
        """Returns the position of a time on the axis, in units in which the axis is linear."""
        return math.log(milliseconds) if self.is_logarithmic else milliseconds

    def milliseconds(self, place: float) -> float:
        """Returns the time at a position on the axis."""
        return math.exp(place) if self.is_logarithmic else place

    def channel(self, field: str) -> alt.X:
        kind: Literal["log", "linear"] = "log" if self.is_logarithmic else "linear"
        margin = 0.02 * (self.place(self.last) - self.place(self.first) or abs(self.place(self.last)))
        domain = [self.milliseconds(self.place(self.first) - margin), self.milliseconds(self.place(self.last) + margin)]
        scale = alt.Scale(type=kind, domain=domain, nice=False)
        axis = alt.Axis(tickCount=5, format="~r", labelOverlap="greedy")
        return alt.X(f"{field}:Q", title="Step time (ms)", scale=scale, axis=axis)


def _layers(bins: list[dict[str, Any]], medians: list[dict[str, Any]], axis: _Axis) -> alt.LayerChart:
    """Draws the histograms, their medians, and the names above them."""
    colour, scale = leg_colour(), alt.Scale(domain=[0, len(medians)], nice=False)
    y, time = alt.Y("base:Q", axis=None, scale=scale), axis.channel("milliseconds")
    tooltip = ["leg:N", alt.Tooltip("milliseconds:Q", format=".4g"), "steps:Q"]
    areas = alt.Chart(rows(bins)).mark_area(interpolate="step-after", opacity=0.75)
    rules = alt.Chart(rows(medians)).mark_rule(strokeWidth=2)
    names = alt.Chart(rows(medians)).mark_text(align="left", baseline="bottom", dy=-3)
    return layered(
        ROW_HEIGHT * len(medians),
        areas.encode(x=time, y=y, y2="top:Q", color=colour, detail="leg:N", tooltip=tooltip),
        rules.encode(x=time, y=y, y2="top:Q", color=colour),
        names.encode(x=axis.channel("at"), y=alt.Y("top:Q", axis=None, scale=scale), text="label:N"),
    )


def _samples(leg: NamedLeg) -> Samples:
    seconds = [second for trial in leg.leg.trials for second in trial.compared_step_seconds()]
    return Samples(leg, sorted(1000 * second for second in seconds))


def _bins(samples: Samples, place: int, axis: _Axis) -> list[dict[str, Any]]:
    """Returns the left edge of every bin with its number of steps; the last entry is empty and closes the area."""
    first, last = axis.place(samples.milliseconds[0]), axis.place(samples.last_shown)
    widest = axis.place(axis.last) - axis.place(axis.first) or abs(last)
    width = max((last - first) / BINS, widest * NARROWEST)
    edges = [axis.milliseconds(first + index * width) for index in range(int((last - first) / width) + 2)]
    below = [0, *(bisect.bisect_left(samples.milliseconds, edge) for edge in edges[1:])]
    steps = [after - before for before, after in pairwise(below)]
    shared = {"leg": samples.leg.name, "precision": samples.leg.leg.precision, "base": place}
    return [
        {**shared, "milliseconds": edge, "steps": count, "top": place + TALLEST * count / max(steps)}
        for edge, count in zip(edges, [*steps, 0], strict=True)
    ]


def _median(samples: Samples, place: int) -> dict[str, Any]:
    median = 1000 * (samples.leg.leg.median_step_seconds or 0)
    return {
        "leg": samples.leg.name,
        "precision": samples.leg.leg.precision,
        "milliseconds": median,
        "base": place,
        "top": place + TALLEST,
        "label": f"{samples.leg.name}  median {median:.4g} ms",
    }


def _description(legs: list[Samples]) -> str:
    parts = [
        f"{samples.leg.name} median {1000 * (samples.leg.leg.median_step_seconds or 0):.4g} ms, from "
        f"{samples.milliseconds[0]:.4g} to {samples.milliseconds[-1]:.4g} ms over {len(samples.milliseconds):,} steps"
        for samples in legs
    ]
    return f"Times of the measured steps of all trials: {'; '.join(parts)}."


def _caption(legs: list[Samples], pairing: Pairing) -> str:
    beyond = sum(len(leg.milliseconds) - bisect.bisect_right(leg.milliseconds, leg.last_shown) for leg in legs)
    total = sum(len(leg.milliseconds) for leg in legs)
    shown = f" except the slowest {beyond:,}" if beyond else ""
    left_out = " Those right after a wait are left out." if pairing == "turns" else ""
    return (
        f"All {total:,} measured steps{shown}; the height is proportional to the number of steps with that time."
        f"{left_out}"
    )
