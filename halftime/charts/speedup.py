"""The speedup block by block, beside what identical work shows and what is required."""

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
from halftime.contract.report.named_legs import named_legs, ratios_by_block
from halftime.contract.report.report import Comparison, Estimate, Report

HEIGHT = 230
#: Of the height, between two labels.
LABEL_GAP = 0.085


def speedup_by_block(report: Report) -> Chart | None:
    """A mark per block, the mean with its interval, the noise floor, same speed, and the threshold; None without."""
    compared = [(leg.name, found) for leg, found in zip(named_legs(report)[1:], report.comparisons, strict=False)]
    found = [(name, one.speedup, one) for name, one in compared if one.speedup]
    if not found:
        return None
    points = [row for name, _, one in found for row in _points(name, one, report)]
    means = [_mean(name, estimate, one) for name, estimate, one in found]
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
    return styled(chart, _words(found, report), _caption(report))


def _points(name: str, found: Comparison, report: Report) -> list[dict[str, Any]]:
    precision = found.candidate.precision
    ratios = ratios_by_block(report.baseline, found.candidate)
    return [{"leg": name, "precision": precision, "block": block, "ratio": ratio} for block, ratio in ratios]


def _mean(name: str, estimate: Estimate, found: Comparison) -> dict[str, Any]:
    label = f"{name} {estimate.value:.2f}×"
    return {"leg": name, "precision": found.candidate.precision, "label": label} | _limits(estimate)


def _limits(estimate: Estimate) -> dict[str, Any]:
    return {"ratio": estimate.value, "low": estimate.ci_low, "high": estimate.ci_high}


def _lines(report: Report) -> list[dict[str, Any]]:
    """Same speed, and what is required."""
    wanted = {
        requirement.threshold
        for found in report.comparisons
        for requirement in found.requirements
        if requirement.name == "min_speedup" and requirement.threshold is not None
    }
    required = [{"ratio": threshold, "label": f"required {threshold:g}×"} for threshold in sorted(wanted)]
    return [{"ratio": 1.0, "label": "same speed"}, *required]


def _domain(
    points: list[dict[str, Any]], means: list[dict[str, Any]], lines: list[dict[str, Any]], floor: Estimate | None
) -> list[float]:
    """Everything, but limits so far off that nothing else could be told apart: such a band runs over the edge."""
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
    """The layers, on one vertical scale."""

    scale: alt.Scale
    blocks: int

    def band(self, limits: list[dict[str, Any]], colour: str, opacity: float) -> alt.Chart:
        drawn = alt.Chart(rows(limits)).mark_rect(color=colour, opacity=opacity, clip=True)
        encoded: alt.Chart = drawn.encode(x=self._x("from"), x2="to:Q", y=self._y("low"), y2="high:Q")
        return encoded

    def edges(self, limits: list[dict[str, Any]]) -> alt.Chart:
        """Of a band that another may lie upon."""
        drawn = alt.Chart(rows(limits)).mark_rect(fill=None, stroke=QUIET, strokeDash=[1, 3], clip=True)
        encoded: alt.Chart = drawn.encode(x=self._x("from"), x2="to:Q", y=self._y("low"), y2="high:Q")
        return encoded

    def rules(self, lines: list[dict[str, Any]]) -> alt.Chart:
        drawn = alt.Chart(rows(lines)).mark_rule(color=QUIET, strokeDash=[4, 3])
        encoded: alt.Chart = drawn.encode(x=self._x("from"), x2="to:Q", y=self._y("ratio"))
        return encoded

    def means(self, means: list[dict[str, Any]]) -> alt.Chart:
        drawn = alt.Chart(rows(means)).mark_rule(strokeWidth=2)
        encoded: alt.Chart = drawn.encode(x=self._x("from"), x2="to:Q", y=self._y("ratio"), color=leg_colour())
        return encoded

    def marks(self, points: list[dict[str, Any]]) -> alt.Chart:
        drawn = alt.Chart(rows(points)).mark_point(filled=True, size=70, opacity=1, stroke=GROUND, strokeWidth=1)
        shape = alt.Shape("precision:N", scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values())), legend=None)
        told = ["leg:N", "block:Q", alt.Tooltip("ratio:Q", format=".3f")]
        encoded: alt.Chart = drawn.encode(
            x=self._x("block"), y=self._y("ratio"), color=leg_colour(), shape=shape, tooltip=told
        )
        return encoded

    def labels(self, labelled: list[dict[str, Any]]) -> alt.Chart:
        drawn = alt.Chart(rows(labelled)).mark_text(align="left", dx=8)
        encoded: alt.Chart = drawn.encode(x=self._x("to"), y=self._y("label_at"), text="label:N")
        return encoded

    def _x(self, field: str) -> alt.X:
        """Whole blocks; no more ticks than there is room for."""
        every = max(1, -(-self.blocks // 10))
        axis = alt.Axis(values=list(range(1, self.blocks + 1, every)), grid=False, format="d")
        scale = alt.Scale(domain=[0.5, self.blocks + 0.5], nice=False)
        return alt.X(f"{field}:Q", title="Block", scale=scale, axis=axis)

    def _y(self, field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=self.scale, **axis_above("Speedup (×)", ticks=5))


def _words(found: list[tuple[str, Estimate, Comparison]], report: Report) -> str:
    told = [f"{name} {one.value:.2f}× ({one.ci_low:.2f} to {one.ci_high:.2f})" for name, one, _ in found]
    words = f"Speedup over {report.baseline.precision} in each of {report.blocks} blocks. Mean with its 95 % interval: "
    return words + f"{', '.join(told)}."


def _caption(report: Report) -> str:
    words = "A mark per block; the line is the mean, the band around it the 95 % interval."
    if report.noise_floor:
        floor = report.noise_floor.ratio
        limits = f"{floor.ci_low:.3f}× to {floor.ci_high:.3f}×"
        words += f" Grey, with a dotted edge: what identical work shows on this machine ({limits})."
    if report.samples_dropped:
        words += " The single blocks are not held any more."
    return words
