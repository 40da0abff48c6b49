"""The roofline: how fast each kind of work runs, beside what the device's memory and arithmetic allow.

Williams, Waterman & Patterson 2009, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52(4), 65-76.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
from humanize import metric

from halftime.charts.labels import round_ticks, spread_out
from halftime.charts.theme import GROUND, LEGS, LINE, QUIET, SHAPES, WIDTH, Chart, axis_above, layered, rows, styled
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.explanation import TimeByKind
from halftime.contract.report.kinds import KIND_TITLES
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report
from halftime.contract.resources.worker import DeviceCeilings

HEIGHT = 300
#: Width in pixels of the vertical axis and the padding.
AXIS = 80
#: Usual size of a label, as shares of the chart's width and height: labels nearer to each other would overlap.
LABEL_WIDTH, LABEL_HEIGHT = 0.3, 0.055
#: Marks beyond this share of the width have their label on the left.
FAR_RIGHT = 0.55
#: Where the name of a slope begins: this times the intensity at which the slope comes into view.
NAME_AT = 1.3

CAPTION = (
    "Each mark is a kind of work that multiplies: further right, more arithmetic per byte; higher, faster. The lines "
    "are what this device reached when it was measured: the sloped ones its memory, the flat ones matrix products in "
    "each precision. Marks far below the lines are held up by something else, such as the time that it takes to start "
    "operations (launches). Attention that torch computes as one operation has no mark: how much of its arithmetic a "
    "mask saves is unknown."
)


def roofline(report: Report) -> Chart | None:
    """Draws a mark per kind and leg; None without ceilings, or if no kind's work and bytes are known."""
    legs = [leg for leg in named_legs(report) if leg.leg.time_by_kind]
    marks = [row for leg in legs for time in leg.leg.time_by_kind if (row := _mark(leg, time))]
    peaks = _peaks(legs, report.ceilings) if report.ceilings else {}
    if report.ceilings is None or not (marks and peaks and report.ceilings.memory):
        return None
    draw = _Drawing(marks, bandwidths_of(report.ceilings), peaks)
    layers = [draw.slopes(), draw.names_of_slopes(), draw.flats(), draw.names_of_flats(), draw.links(), draw.marks()]
    return styled(layered(HEIGHT, *layers, *draw.names_of_marks()), _description(marks, draw), CAPTION)


def _mark(leg: NamedLeg, time: TimeByKind) -> dict[str, Any] | None:
    """Returns the mark of a kind, from the least work and bytes that it needs; None if either is unknown or 0."""
    if not (time.least_flops and time.least_bytes and time.seconds_per_step):
        return None
    return {
        "leg": leg.name,
        "precision": leg.leg.precision,
        "kind": KIND_TITLES[time.kind],
        "intensity": time.least_flops / time.least_bytes,
        "rate": time.least_flops / time.seconds_per_step,
    }


def _peaks(legs: list[NamedLeg], ceilings: DeviceCeilings) -> dict[PrecisionName, float]:
    """Returns the fastest matrix product of each precision, be it of a leg or of the worker's own measurement."""
    of_legs = {leg.leg.precision: leg.leg.ceiling_flops_per_second or 0.0 for leg in legs}
    peaks = {name: max(rate, ceilings.flops_per_second.get(name, 0.0)) for name, rate in of_legs.items()}
    return {name: rate for name, rate in peaks.items() if rate}


def bandwidths_of(ceilings: DeviceCeilings) -> dict[str, float]:
    """Returns the bandwidth of the largest operations and, if another is higher, of those that stay in a cache."""
    memory = max(ceilings.memory, key=lambda one: one.size_bytes).bytes_per_second
    cache = max(one.bytes_per_second for one in ceilings.memory)
    return {"memory": memory, **({"cache": cache} if cache > memory else {})}


@dataclass(frozen=True)
class _Drawing:
    """Draws the layers on two logarithmic axes: FLOP per byte, and FLOP/s."""

    rows: list[dict[str, Any]]
    bandwidths: dict[str, float]
    peaks: dict[PrecisionName, float]

    @cached_property
    def precisions(self) -> list[PrecisionName]:
        return list(dict.fromkeys(row["precision"] for row in self.rows))

    @cached_property
    def intensities(self) -> tuple[float, float]:
        """The ends of the horizontal axis: all marks, and where the slowest memory reaches the highest peak."""
        shown = [*(row["intensity"] for row in self.rows), max(self.peaks.values()) / min(self.bandwidths.values())]
        return min(shown) / 3, 3 * max(shown)

    @cached_property
    def rates(self) -> tuple[float, float]:
        """The ends of the vertical axis: all marks and peaks."""
        shown = [*(row["rate"] for row in self.rows), *self.peaks.values()]
        return min(shown) / 3, 3 * max(shown)

    @cached_property
    def sloped(self) -> dict[str, float]:
        """The bandwidths that limit anything in view: a cache may be faster than all arithmetic there."""
        top, left = max(self.peaks.values()), self.intensities[0]
        return {name: bandwidth for name, bandwidth in self.bandwidths.items() if NAME_AT * left * bandwidth < top}

    def slopes(self) -> alt.Chart:
        top, left = max(self.peaks.values()), self.intensities[0]
        ends = [
            {"memory": name, "intensity": intensity, "rate": intensity * bandwidth}
            for name, bandwidth in self.sloped.items()
            for intensity in (left, top / bandwidth)
        ]
        chart = alt.Chart(rows(ends)).mark_line(color=QUIET, clip=True)
        encoded: alt.Chart = chart.encode(x=self._x(), y=self._y(), detail="memory:N")
        return encoded

    def names_of_slopes(self) -> alt.Chart:
        """Names the lines of the memory along them, a little above the left or the lower edge."""
        (left, right), (low, high) = self.intensities, self.rates
        starts = {name: max(left, low / bandwidth) * NAME_AT for name, bandwidth in self.sloped.items()}
        labels = [
            {"intensity": start, "rate": start * bandwidth, "label": f"{name} {metric(bandwidth, 'B/s')}"}
            for (name, start), bandwidth in zip(starts.items(), self.sloped.values(), strict=True)
        ]
        steepness = math.log(right / left) / (WIDTH - AXIS) * HEIGHT / math.log(high / low)
        angle = 360 - math.degrees(math.atan(steepness))
        chart = alt.Chart(rows(labels)).mark_text(align="left", baseline="bottom", dy=-3, angle=angle, color=QUIET)
        encoded: alt.Chart = chart.encode(x=self._x(), y=self._y(), text="label:N")
        return encoded

    def flats(self) -> alt.Chart:
        fastest, right = max(self.bandwidths.values()), self.intensities[1]
        ends = [
            {"precision": name, "intensity": intensity, "rate": peak}
            for name, peak in self.peaks.items()
            for intensity in (peak / fastest, right)
        ]
        chart = alt.Chart(rows(ends)).mark_line(strokeWidth=2, clip=True)
        encoded: alt.Chart = chart.encode(x=self._x(), y=self._y(), color=self._colour())
        return encoded

    def names_of_flats(self) -> alt.Chart:
        gap = LABEL_HEIGHT * math.log(self.rates[1] / self.rates[0])
        places = spread_out([math.log(peak) for peak in self.peaks.values()], gap)
        labels = [
            {"intensity": self.intensities[1], "rate": math.exp(place), "label": f"{name} {metric(peak, 'FLOP/s')}"}
            for (name, peak), place in zip(self.peaks.items(), places, strict=True)
        ]
        chart = alt.Chart(rows(labels)).mark_text(align="right", baseline="bottom", dy=-3)
        encoded: alt.Chart = chart.encode(x=self._x(), y=self._y(), text="label:N")
        return encoded

    def links(self) -> alt.Chart:
        """Joins the marks of one kind."""
        chart = alt.Chart(rows(self.rows)).mark_line(color=LINE, strokeWidth=2)
        encoded: alt.Chart = chart.encode(x=self._x(), y=self._y(), detail="kind:N")
        return encoded

    def marks(self) -> alt.Chart:
        shapes = alt.Scale(domain=self.precisions, range=[SHAPES[name] for name in self.precisions])
        numbers = [alt.Tooltip("intensity:Q", format=".3g"), alt.Tooltip("rate:Q", format=".3s")]
        chart = alt.Chart(rows(self.rows)).mark_point(filled=True, size=80, opacity=1, stroke=GROUND, strokeWidth=1)
        encoded: alt.Chart = chart.encode(
            x=self._x(),
            y=self._y(),
            color=self._colour(),
            shape=alt.Shape("precision:N", scale=shapes, legend=alt.Legend(offset=28)),
            tooltip=["leg:N", "kind:N", *numbers],
        )
        return encoded

    def names_of_marks(self) -> list[alt.Chart]:
        """Names each kind beside its fastest mark, on the side that has room."""
        labels = self._placed_labels()
        right_of_marks = [row for row in labels if row["across"] <= FAR_RIGHT]
        left_of_marks = [row for row in labels if row["across"] > FAR_RIGHT]
        charts = [
            alt.Chart(rows(right_of_marks)).mark_text(align="left", dx=8),
            alt.Chart(rows(left_of_marks)).mark_text(align="right", dx=-8),
        ]
        return [chart.encode(x=self._x(), y=self._y(), text="kind:N") for chart in charts]

    def _placed_labels(self) -> list[dict[str, Any]]:
        """Returns the label of each kind, moved down from its fastest mark until it is clear of those above it."""
        placed: list[dict[str, Any]] = []
        fastest = {row["kind"]: row for row in sorted(self.rows, key=lambda row: row["rate"])}
        for row in sorted(fastest.values(), key=lambda row: -row["rate"]):
            across, up = _share(row["intensity"], self.intensities), _share(row["rate"], self.rates)
            for other in placed:
                if abs(other["across"] - across) < LABEL_WIDTH and other["up"] - up < LABEL_HEIGHT:
                    up = other["up"] - LABEL_HEIGHT
            low, high = self.rates
            placed.append({**row, "across": across, "up": up, "rate": low * (high / low) ** up})
        return placed

    def _colour(self) -> alt.Color:
        scale = alt.Scale(domain=self.precisions, range=[LEGS[name] for name in self.precisions])
        return alt.Color("precision:N", scale=scale, legend=alt.Legend(offset=28))

    def _x(self) -> alt.X:
        axis = alt.Axis(grid=False, values=round_ticks(*self.intensities), format="~g")
        scale = alt.Scale(type="log", domain=list(self.intensities), nice=False)
        return alt.X("intensity:Q", title="Arithmetic per byte (FLOP/byte)", scale=scale, axis=axis)

    def _y(self) -> alt.Y:
        scale = alt.Scale(type="log", domain=list(self.rates), nice=False)
        vertical = axis_above("Rate of arithmetic (FLOP/s)", ticks=5, label_format="~s")
        vertical["axis"].values = round_ticks(*self.rates)
        return alt.Y("rate:Q", scale=scale, **vertical)


def _share(value: float, ends: tuple[float, float]) -> float:
    """Returns where a value lies between the ends of a logarithmic axis, from 0 to 1."""
    return math.log(value / ends[0]) / math.log(ends[1] / ends[0])


def _description(marks: list[dict[str, Any]], draw: _Drawing) -> str:
    roof = [f"{name} {metric(bandwidth, 'B/s')}" for name, bandwidth in draw.bandwidths.items()]
    roof += [f"{name} {metric(peak, 'FLOP/s')}" for name, peak in draw.peaks.items()]
    parts = [
        f"{row['kind']} in {row['leg']} {metric(row['rate'], 'FLOP/s')} at {row['intensity']:.3g} FLOP per byte"
        for row in marks
    ]
    return f"How fast each kind of work runs: {'; '.join(parts)}. The device's ceilings: {', '.join(roof)}."
