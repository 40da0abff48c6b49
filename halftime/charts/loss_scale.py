"""The loss scale of the gradient scaler, and the skipped steps."""

import math
from itertools import pairwise
from typing import Any

import altair as alt

from halftime.charts.theme import Chart, axis_above, layered, leg_colour, rows, styled
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import GradScalerSummary, Report

HEIGHT = 150
CAPTION = "Loss scale in the first block; a cross marks a step that was skipped because gradients overflowed."
#: Most changes of the scale that are drawn; with more, only some of them are.
CHANGES = 1000
TICKS = 5


def loss_scale(report: Report) -> Chart | None:
    """Draws the scale of each leg with a scaler in the first block; None if no leg has one or no trace is stored."""
    scaled = [(leg, scaler) for leg in named_legs(report) if (scaler := leg.leg.grad_scaler) and _has_trace(scaler)]
    if not scaled:
        return None
    changes = [row for leg, scaler in scaled for row in _changes(leg, scaler)]
    skips = [row for leg, _ in scaled for row in _skips(leg)]
    colour = leg_colour()
    scale = alt.Scale(type="log", base=2, nice=False)
    axis = alt.Axis(grid=False, tickCount=6, tickMinStep=1, format="~s")
    x = alt.X("step:Q", title="Step", axis=axis, scale=alt.Scale(nice=False))
    vertical = axis_above("Loss scale", ticks=5, label_format=",")
    vertical["axis"].values = _powers_of_two([row["scale"] for row in changes if row["scale"]])
    y = alt.Y("scale:Q", scale=scale, **vertical)
    lines = (
        alt.Chart(rows(changes))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=x, y=y, color=colour, detail="leg:N", tooltip=["leg:N", "step:Q", "scale:Q"])
    )
    marks = (
        alt.Chart(rows(skips))
        .mark_point(shape="cross", angle=45, size=60, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, tooltip=["leg:N", "step:Q"])
    )
    return styled(layered(HEIGHT, lines, marks), _description(scaled), CAPTION)


def _powers_of_two(scales: list[float]) -> list[float]:
    """Returns axis ticks at powers of two from the smallest scale to the largest, about `TICKS` of them."""
    first, last = math.floor(math.log2(min(scales))), math.ceil(math.log2(max(scales)))
    return [2.0**power for power in range(last, first - 1, -max(1, -(-(last - first) // TICKS)))]


def _has_trace(scaler: GradScalerSummary) -> bool:
    """Whether a trace is stored with a scale above 0, which a logarithmic axis needs."""
    return any(scaler.scale_trace)


def _changes(leg: NamedLeg, scaler: GradScalerSummary) -> list[dict[str, Any]]:
    """Returns the first step, the steps at which the scale changes, and the last step."""
    trace = list(enumerate(scaler.scale_trace, start=1))
    kept = [trace[0], *(after for before, after in pairwise(trace) if after[1] != before[1]), trace[-1]]
    kept = kept[:: max(1, -(-len(kept) // CHANGES))]
    names = {"leg": leg.name, "precision": leg.leg.precision}
    return [{**names, "step": step, "scale": scale or None} for step, scale in kept]


def _skips(leg: NamedLeg) -> list[dict[str, Any]]:
    """Returns the steps that the first block's trial skipped, each with the scale after it."""
    trace = leg.leg.trials[0].grad_scaler if leg.leg.trials else None
    if trace is None or not trace.scale_trace:
        return []
    names = {"leg": leg.name, "precision": leg.leg.precision}
    steps = trace.skipped_steps[:: max(1, -(-len(trace.skipped_steps) // CHANGES))]
    return [{**names, "step": step + 1, "scale": trace.scale_trace[step] or None} for step in steps]


def _description(scaled: list[tuple[NamedLeg, GradScalerSummary]]) -> str:
    parts = [
        f"{leg.name} from {scaler.initial_scale:,.0f} to {scaler.final_scale:,.0f}; {scaler.skipped_steps} steps "
        f"skipped in all trials, at most {scaler.longest_skip_run} consecutively"
        for leg, scaler in scaled
    ]
    return f"Loss scale: {'; '.join(parts)}."
