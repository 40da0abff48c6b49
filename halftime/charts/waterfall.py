"""From the baseline's step to each candidate's: what every kind of work saved or cost."""

from itertools import pairwise
from typing import Any

import altair as alt

from halftime.charts.theme import COST, LEGS, QUIET, SAVED, WIDTH, Chart, rows, styled
from halftime.contract.report.explanation import WaterfallStep
from halftime.contract.report.kinds import KIND_TITLES
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report

ROW_HEIGHT = 26
#: Width in pixels reserved for the names of the rows.
NAMES = 150
#: Kinds whose time changes by less than this share of the baseline's step are drawn as one.
SMALL_CHANGE = 0.01
#: Share of the width that the labels right of the bars need.
LABELS = 0.3
OTHERS = "everything else"

CAPTION = (
    "From the top: a step of the baseline, what each kind of work saved (to the left) or cost (to the right), and the "
    "candidate's step that remains."
)


def waterfall(report: Report) -> Chart | None:
    """Draws a panel per candidate, one bar per kind of work; None if no comparison is explained."""
    baseline, *candidates = named_legs(report)
    explained = [
        (leg, comparison.explanation.waterfall)
        for leg, comparison in zip(candidates, report.comparisons, strict=False)
        if comparison.explanation and comparison.explanation.waterfall
    ]
    if not explained:
        return None
    panels = [_bars(baseline, candidate, steps) for candidate, steps in explained]
    most = max(max(bar["from"], bar["to"]) for bars in panels for bar in bars)
    charts = [_panel(bars, most, is_last=bars is panels[-1]) for bars in panels]
    return styled(alt.vconcat(*charts, spacing=24), _description(panels), CAPTION)


def _bars(baseline: NamedLeg, candidate: NamedLeg, steps: list[WaterfallStep]) -> list[dict[str, Any]]:
    """Returns the bars from top to bottom in milliseconds, the kind that saved the most first."""
    before = 1000 * sum(step.baseline_seconds for step in steps)
    bars = [_whole(baseline, before)]
    at = before
    for name, change in _changes(steps, SMALL_CHANGE * before):
        what = "cost" if change > 0 else "saved"
        bars.append({"row": name, "from": at, "to": at + change, "what": what, "label": _signed(change)})
        at += change
    return [*bars, _whole(candidate, at)]


def _changes(steps: list[WaterfallStep], least: float) -> list[tuple[str, float]]:
    changes = [(KIND_TITLES[step.kind], 1000 * (step.candidate_seconds - step.baseline_seconds)) for step in steps]
    shown = sorted((named for named in changes if abs(named[1]) >= least), key=lambda named: named[1])
    rest = [change for _, change in changes if abs(change) < least]
    return [*shown, (OTHERS, sum(rest))] if any(rest) else shown


def _whole(leg: NamedLeg, milliseconds: float) -> dict[str, Any]:
    label = f"{_rounded(milliseconds)} ms"
    return {"row": f"{leg.name} step", "from": 0.0, "to": milliseconds, "what": leg.leg.precision, "label": label}


def _panel(bars: list[dict[str, Any]], most: float, is_last: bool) -> alt.LayerChart:
    """Draws one candidate. Only the lowest panel has a title of the horizontal axis."""
    scale = alt.Scale(domain=[0, most / (1 - LABELS)], nice=False)
    axis = alt.Axis(tickCount=4, format="~r")
    title = "Time per step (ms)" if is_last else None
    names = [bar["row"] for bar in bars]
    fixed = alt.Axis(ticks=False, grid=False, labelLimit=NAMES, minExtent=NAMES, maxExtent=NAMES)
    x, y = alt.X("from:Q", title=title, scale=scale, axis=axis), alt.Y("row:N", title=None, sort=names, axis=fixed)
    hues = LEGS | {"saved": SAVED, "cost": COST}
    colour = alt.Color("what:N", scale=alt.Scale(domain=list(hues), range=list(hues.values())), legend=None)
    data = rows([bar | {"end": max(bar["from"], bar["to"])} for bar in bars])
    links = rows([{"row": above["row"], "next": below["row"], "at": above["to"]} for above, below in pairwise(bars)])
    layers = [
        alt.Chart(links).mark_rule(color=QUIET, strokeDash=[2, 2]).encode(
            x=alt.X("at:Q", title=title, scale=scale, axis=axis), y=y, y2="next:N"
        ),
        alt.Chart(data).mark_bar(size=16).encode(
            x=x, x2="to:Q", y=y, color=colour, tooltip=[alt.Tooltip("row:N"), alt.Tooltip("label:N")]
        ),
        alt.Chart(data).mark_text(align="left", dx=5).encode(
            x=alt.X("end:Q", title=title, scale=scale, axis=axis), y=y, text="label:N"
        ),
    ]  # fmt: skip
    panel: alt.LayerChart = alt.LayerChart(layer=layers)
    return panel.properties(width=WIDTH - NAMES, height=ROW_HEIGHT * len(bars))


def _signed(milliseconds: float) -> str:
    return f"{'−' if milliseconds < 0 else '+'}{_rounded(abs(milliseconds))}"


def _rounded(milliseconds: float) -> str:
    digits = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2
    return f"{milliseconds:,.{digits}f}"


def _description(panels: list[list[dict[str, Any]]]) -> str:
    parts = []
    for first, *changes, last in panels:
        named = ", ".join(f"{bar['row']} {bar['label']} ms" for bar in changes)
        parts.append(f"{first['row']} {first['label']}; {named}; {last['row']} {last['label']}")
    return f"What each kind of work saved or cost: {'. '.join(parts)}."
