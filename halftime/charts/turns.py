"""The turns of the first block: each leg's step time by slice, over time."""

import statistics
from typing import Any

import altair as alt

from halftime.charts.theme import Chart, axis_above, layered, leg_colour, rows, styled
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import Report
from halftime.contract.report.trial import TrialResult

HEIGHT = 200
#: The axis is logarithmic if the ratio of the slowest to the fastest slice is above this.
FAR_APART = 6
#: Thickness of a slice, and opacity of a disturbed one.
THICKNESS, DISTURBED = 6, 0.35

CAPTION = (
    "Each bar is a slice: one leg trains while the others wait, and the height is the median of its compared steps. "
    "Neighbours make a pair, whose ratio counts."
)


def turns(report: Report) -> Chart | None:
    """Draws a bar per slice of the first block; None if the legs did not take turns or no step times are stored."""
    data = [row for leg in named_legs(report) for row in _slices(leg.name, leg.leg.trials[:1])]
    if not data:
        return None
    milliseconds = [row["milliseconds"] for row in data]
    is_logarithmic = max(milliseconds) / min(milliseconds) > FAR_APART
    scale = alt.Scale(type="log" if is_logarithmic else "linear", zero=False, nice=False, padding=16)
    disturbed = any(row["disturbed"] for row in data)
    x = alt.X("began:Q", title="Time since the block began (s)", axis=alt.Axis(grid=False, tickCount=6))
    y = alt.Y("milliseconds:Q", scale=scale, **axis_above("Step time (ms)", ticks=5))
    tooltip = ["leg:N", "slice:Q", alt.Tooltip("milliseconds:Q", format=".4g"), "steps:Q", "disturbed:N"]
    bars = alt.Chart(rows(data)).mark_rule(strokeWidth=THICKNESS)
    opacity = alt.condition(alt.datum.disturbed, alt.value(DISTURBED), alt.value(1))
    names = alt.Chart(rows(_names(data))).mark_text(align="left", baseline="bottom", dy=-6)
    chart = layered(
        HEIGHT,
        bars.encode(x=x, x2="ended:Q", y=y, color=leg_colour(), opacity=opacity, tooltip=tooltip),
        names.encode(x=x, y=y, text="leg:N"),
    )
    return styled(chart, _description(data), CAPTION + (" Pale slices were disturbed." if disturbed else ""))


def _slices(leg: str, trials: list[TrialResult]) -> list[dict[str, Any]]:
    return [
        {
            "leg": leg,
            "precision": trial.precision,
            "slice": number,
            "began": one.began_seconds,
            "ended": one.ended_seconds,
            "milliseconds": 1000 * statistics.median(seconds),
            "steps": len(seconds),
            "disturbed": bool(one.disturbances),
        }
        for trial in trials
        for number, one in enumerate(trial.slices, start=1)
        if (seconds := trial.slice_step_seconds(one)[one.pick_up_steps :])
    ]


def _names(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first slice of each leg, above which its name stands."""
    first = {row["leg"]: row for row in reversed(data)}
    return list(reversed(first.values()))


def _description(data: list[dict[str, Any]]) -> str:
    parts = []
    for leg in dict.fromkeys(row["leg"] for row in data):
        mine = [row["milliseconds"] for row in data if row["leg"] == leg]
        parts.append(f"{leg} in {len(mine)} slices, from {min(mine):.4g} to {max(mine):.4g} ms a step")
    return f"The turns of the first block: {'; '.join(parts)}."
