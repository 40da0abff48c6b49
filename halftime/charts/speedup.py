"""The speedup by block, compared with the noise floor and the required speedup."""

from dataclasses import dataclass
from typing import Any

import altair as alt

from halftime.charts.labels import spread_out
from halftime.charts.theme import (
    GROUND,
    LEGS,
    LINE,
    QUIET,
    SHAPES,
    Chart,
    axis_above,
    layered,
    leg_colour,
    rows,
    styled,
)
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.named_legs import named_legs, ratios_by_block
from halftime.contract.report.report import Comparison, Report

HEIGHT = 230
#: Smallest distance of two labels, as a share of the height.
LABEL_GAP = 0.085


def speedup_by_block(report: Report) -> Chart | None:
    """Draws a mark per block, the mean with its interval, the noise floor, a line at same speed, and the threshold.

    Returns None if no candidate has a speedup.
    """
    named = [(leg.name, item) for leg, item in zip(named_legs(report)[1:], report.comparisons, strict=False)]
    compared = [(name, item.speedup, item) for name, item in named if item.speedup]
    if not compared:
        return None
    points = [row for name, _, item in compared for row in _points(name, item, report)]
    means = [_mean(name, estimate, item) for name, estimate, item in compared]
    lines = _lines(report)
    floor = report.noise_floor.ratio if report.noise_floor else None
    domain = _domain(points, means, lines, floor)
    _place_labels([*means, *lines], LABEL_GAP * (domain[1] - domain[0]))
    edges = {"from": 0.5, "to": report.blocks + 0.5}
    draw = _Drawing(alt.Scale(domain=domain, nice=False, zero=False), report.blocks)
    layers = [
        *([draw.band([edges | _limits(floor)], LINE, 0.6), draw.edges([edges | _limits(floor)])] if floor else []),
        *(draw.band([edges | row], LEGS[row["precision"]], 0.18) for row in means),
        draw.rules([edges | row for row in lines]),
        draw.means([edges | row for row in means]),
        draw.marks(points),
        draw.labels([edges | row for row in [*means, *lines]]),
    ]
    chart = layered(HEIGHT, *layers)
    return styled(chart, _description(compared, report), _caption(report))


def _points(name: str, comparison: Comparison, report: Report) -> list[dict[str, Any]]:
    precision = comparison.candidate.precision
    ratios = ratios_by_block(report.baseline, comparison.candidate)
    return [{"leg": name, "precision": precision, "block": block, "ratio": ratio} for block, ratio in ratios]


def _mean(name: str, estimate: Estimate, comparison: Comparison) -> dict[str, Any]:
    label = f"{name} {estimate.value:.2f}×"
    return {"leg": name, "precision": comparison.candidate.precision, "label": label} | _limits(estimate)


def _limits(estimate: Estimate) -> dict[str, Any]:
    return {"ratio": estimate.value, "low": estimate.ci_low, "high": estimate.ci_high}


def _lines(report: Report) -> list[dict[str, Any]]:
    """Returns the horizontal lines: same speed, and the required speedup."""
    thresholds = {
        requirement.threshold
        for comparison in report.comparisons
        for requirement in comparison.requirements
        if requirement.name == "min_speedup" and requirement.threshold is not None
    }
    required = [{"ratio": threshold, "label": f"required {threshold:g}×"} for threshold in sorted(thresholds)]
    return [{"ratio": 1.0, "label": "same speed"}, *required]


def _domain(
    points: list[dict[str, Any]], means: list[dict[str, Any]], lines: list[dict[str, Any]], floor: Estimate | None
) -> list[float]:
    """Returns the vertical range: all marks, and intervals up to a distance; a wider band is cut at the edge."""
    shown = [row["ratio"] for row in [*points, *lines, *means]]
    least, most = min(shown), max(shown)
    limits = [row[edge] for row in means for edge in ("low", "high")]
    limits += [floor.ci_low, floor.ci_high] if floor else []
    span = most - least or most
    reached = [*shown, *(min(max(limit, least - span), most + span) for limit in limits)]
    margin = 0.06 * (max(reached) - min(reached))
    return [max(min(reached), 0) - margin, max(reached) + margin]


def _place_labels(labelled: list[dict[str, Any]], gap: float) -> None:
    for row, place in zip(labelled, spread_out([row["ratio"] for row in labelled], gap), strict=True):
        row["label_at"] = place


@dataclass(frozen=True)
class _Drawing:
    """Draws the layers on one vertical scale."""

    scale: alt.Scale
    blocks: int

    def band(self, limits: list[dict[str, Any]], colour: str, opacity: float) -> alt.Chart:
        chart = alt.Chart(rows(limits)).mark_rect(color=colour, opacity=opacity, clip=True)
        encoded: alt.Chart = chart.encode(x=self._x("from"), x2="to:Q", y=self._y("low"), y2="high:Q")
        return encoded

    def edges(self, limits: list[dict[str, Any]]) -> alt.Chart:
        """Draws the outline of a band that another band may cover."""
        chart = alt.Chart(rows(limits)).mark_rect(fill=None, stroke=QUIET, strokeDash=[1, 3], clip=True)
        encoded: alt.Chart = chart.encode(x=self._x("from"), x2="to:Q", y=self._y("low"), y2="high:Q")
        return encoded

    def rules(self, lines: list[dict[str, Any]]) -> alt.Chart:
        chart = alt.Chart(rows(lines)).mark_rule(color=QUIET, strokeDash=[4, 3])
        encoded: alt.Chart = chart.encode(x=self._x("from"), x2="to:Q", y=self._y("ratio"))
        return encoded

    def means(self, means: list[dict[str, Any]]) -> alt.Chart:
        chart = alt.Chart(rows(means)).mark_rule(strokeWidth=2)
        encoded: alt.Chart = chart.encode(x=self._x("from"), x2="to:Q", y=self._y("ratio"), color=leg_colour())
        return encoded

    def marks(self, points: list[dict[str, Any]]) -> alt.Chart:
        chart = alt.Chart(rows(points)).mark_point(filled=True, size=70, opacity=1, stroke=GROUND, strokeWidth=1)
        shape = alt.Shape("precision:N", scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values())), legend=None)
        tooltip = ["leg:N", "block:Q", alt.Tooltip("ratio:Q", format=".3f")]
        encoded: alt.Chart = chart.encode(
            x=self._x("block"), y=self._y("ratio"), color=leg_colour(), shape=shape, tooltip=tooltip
        )
        return encoded

    def labels(self, labelled: list[dict[str, Any]]) -> alt.Chart:
        chart = alt.Chart(rows(labelled)).mark_text(align="left", dx=8)
        encoded: alt.Chart = chart.encode(x=self._x("to"), y=self._y("label_at"), text="label:N")
        return encoded

    def _x(self, field: str) -> alt.X:
        """Returns the horizontal channel: whole blocks, with about ten ticks."""
        every = max(1, -(-self.blocks // 10))
        axis = alt.Axis(values=list(range(1, self.blocks + 1, every)), grid=False, format="d")
        scale = alt.Scale(domain=[0.5, self.blocks + 0.5], nice=False)
        return alt.X(f"{field}:Q", title="Block", scale=scale, axis=axis)

    def _y(self, field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=self.scale, **axis_above("Speedup (×)", ticks=5))


def _description(compared: list[tuple[str, Estimate, Comparison]], report: Report) -> str:
    means = [
        f"{name} {estimate.value:.2f}× ({estimate.ci_low:.2f} to {estimate.ci_high:.2f})"
        for name, estimate, _ in compared
    ]
    text = f"Speedup over {report.baseline.precision} in each of {report.blocks} blocks. Mean with its 95 % interval: "
    return text + f"{', '.join(means)}."


def _caption(report: Report) -> str:
    pairs = ", from its pairs of neighbouring slices" if report.pairing == "turns" else ""
    text = f"Each mark is a block{pairs}; the line is the mean, the band around it the 95 % interval."
    if report.noise_floor:
        floor = report.noise_floor.ratio
        limits = f"{floor.ci_low:.3f}× to {floor.ci_high:.3f}×"
        text += f" The grey band with a dotted edge is the noise floor: the range for identical work ({limits})."
    if report.samples_dropped:
        text += " The ratios of single blocks are no longer stored."
    return text
