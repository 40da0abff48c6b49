"""How fast each kind of work that multiplies nothing moves bytes, beside what the device's memory allows."""

from typing import Any

import altair as alt
from humanize import metric

from halftime.charts.labels import round_ticks
from halftime.charts.roofline import bandwidths_of
from halftime.charts.theme import GROUND, LEGS, LINE, QUIET, SHAPES, Chart, layered, rows, styled
from halftime.contract.report.explanation import TimeByKind
from halftime.contract.report.kinds import KIND_TITLES, MULTIPLYING
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report

ROW_HEIGHT = 26
#: Width in pixels reserved for the names of the rows.
NAMES = 150
#: Height of a line of text above the chart.
LINE_HEIGHT = 15

CAPTION = (
    "Kinds of work that multiply nothing, by the bytes per second that they must at least move. The lines are what "
    "this device reached when it was measured. Marks near them gain from fewer bytes alone; those far to the left are "
    "held up by something else, such as the time that it takes to start operations (launches)."
)


def bandwidth(report: Report) -> Chart | None:
    """Draws a mark per kind and leg; None without ceilings, or if no such kind's bytes are known."""
    marks = [row for leg in named_legs(report) for time in leg.leg.time_by_kind if (row := _mark(leg, time))]
    if report.ceilings is None or not (report.ceilings.memory and marks):
        return None
    ceilings = bandwidths_of(report.ceilings)
    rates = [*(row["rate"] for row in marks), *ceilings.values()]
    low, high = min(rates) / 2, 2 * max(rates)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(values=round_ticks(low, high), format="~s")
    x = alt.X("rate:Q", title="Bytes per second (B/s)", scale=scale, axis=axis)
    slowest_last = sorted({row["kind"] for row in marks}, key=lambda kind: -_fastest(marks, kind))
    y = alt.Y("kind:N", title=None, sort=slowest_last, axis=alt.Axis(ticks=False, grid=False, minExtent=NAMES))
    layers = [*_lines(ceilings, x), *_marks(marks, x, y)]
    return styled(layered(ROW_HEIGHT * len(slowest_last), *layers), _description(marks, ceilings), CAPTION)


def _mark(leg: NamedLeg, time: TimeByKind) -> dict[str, Any] | None:
    multiplies = time.kind in MULTIPLYING or time.least_flops
    if multiplies or not time.least_bytes or not time.seconds_per_step:
        return None
    rate = time.least_bytes / time.seconds_per_step
    return {"leg": leg.name, "precision": leg.leg.precision, "kind": KIND_TITLES[time.kind], "rate": rate}


def _fastest(marks: list[dict[str, Any]], kind: str) -> float:
    fastest: float = max(row["rate"] for row in marks if row["kind"] == kind)
    return fastest


def _lines(ceilings: dict[str, float], x: alt.X) -> list[alt.Chart]:
    """Draws the ceilings, each with its name above it, in a line of its own."""
    at = [{"rate": rate, "label": f"{name} {metric(rate, 'B/s')}"} for name, rate in ceilings.items()]
    names = [
        alt.Chart(rows([row]))
        .mark_text(align="right", baseline="bottom", dy=-4 - LINE_HEIGHT * place, color=QUIET)
        .encode(x=x, y=alt.value(0), text="label:N")
        for place, row in enumerate(at)
    ]
    return [alt.Chart(rows(at)).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(x=x), *names]


def _marks(marks: list[dict[str, Any]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draws the marks of all legs, those of one kind on a line."""
    names = list(dict.fromkeys(row["precision"] for row in marks))
    legend = alt.Legend(offset=8 + 2 * LINE_HEIGHT)
    colours = alt.Scale(domain=names, range=[LEGS[name] for name in names])
    shapes = alt.Scale(domain=names, range=[SHAPES[name] for name in names])
    chart = alt.Chart(rows(marks))
    return [
        chart.mark_line(color=LINE, strokeWidth=2).encode(x=x, y=y, detail="kind:N"),
        chart.mark_point(filled=True, size=80, opacity=1, stroke=GROUND, strokeWidth=1).encode(
            x=x,
            y=y,
            color=alt.Color("precision:N", scale=colours, legend=legend),
            shape=alt.Shape("precision:N", scale=shapes, legend=legend),
            tooltip=["leg:N", "kind:N", alt.Tooltip("rate:Q", format=".3s")],
        ),
    ]


def _description(marks: list[dict[str, Any]], ceilings: dict[str, float]) -> str:
    parts = [f"{row['kind']} in {row['leg']} {metric(row['rate'], 'B/s')}" for row in marks]
    roof = [f"{name} {metric(rate, 'B/s')}" for name, rate in ceilings.items()]
    return f"How fast kinds of work move bytes: {'; '.join(parts)}. The device's ceilings: {', '.join(roof)}."
