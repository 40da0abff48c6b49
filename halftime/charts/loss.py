"""The training loss of every leg, and the lowest possible one."""

import statistics
from collections.abc import Sequence
from typing import Any

import altair as alt

from halftime.charts.theme import AGAIN, DASHES, INK, LEGS, QUIET, Chart, axis_above, layered, rows, styled
from halftime.contract.report.figures import leg_figures
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report

HEIGHT = 220
#: Most points of a line; with more steps, each point is the mean of several.
POINTS = 400
#: The vertical axis is cut at this multiple of the first loss's height above the lowest, so that a diverging leg does
#: not flatten the others.
DIVERGED = 3


def loss(report: Report) -> Chart | None:
    """Draws loss curves over all steps, mean over blocks; None if no leg has one."""
    legs = [leg for leg in named_legs(report) if any(value is not None for value in leg.leg.loss_curve)]
    if not legs:
        return None
    best = report.data.best_possible_loss if report.data else None
    curves = [row for leg in legs for row in _points(leg)]
    # The baseline's line is wider, so that an equal curve drawn over it does not hide it.
    names, precisions = [leg.name for leg in legs], [leg.leg.precision for leg in legs]
    colours = [LEGS[precision] if name == precision else INK for name, precision in zip(names, precisions, strict=True)]
    dashes = [
        DASHES[precision] if name == precision else AGAIN for name, precision in zip(names, precisions, strict=True)
    ]
    scale = alt.Scale(zero=False, domain=_domain(curves, best), nice=False)
    y = _axis(report, scale)
    colour = alt.Color(
        "leg:N",
        scale=alt.Scale(domain=names, range=colours),
        sort=names,
        legend=alt.Legend(offset=28, symbolSize=500),
    )
    dash = alt.StrokeDash("leg:N", scale=alt.Scale(domain=names, range=dashes), sort=names)
    width = alt.condition(alt.datum.leg == names[0], alt.value(4), alt.value(2))
    lines = (
        alt.Chart(rows(curves))
        .mark_line(clip=True)
        .encode(
            x=alt.X(
                "step:Q",
                title="Step",
                axis=alt.Axis(grid=False, tickCount=6, tickMinStep=1, format="~s"),
                scale=alt.Scale(nice=False),
            ),
            y=y,
            color=colour,
            strokeDash=dash,
            strokeWidth=width,
            tooltip=["leg:N", "step:Q", alt.Tooltip("loss:Q", format=".4f")],
        )
    )
    layers = [lines, *(_optimum(best, y) if best is not None else [])]
    return styled(layered(HEIGHT, *layers), _description(legs, best), _caption(legs))


def _points(leg: NamedLeg) -> list[dict[str, Any]]:
    """Returns the curve from step 1; a long curve is averaged over equal groups of steps, at the middle of each."""
    curve = leg.leg.loss_curve
    each = max(1, -(-len(curve) // POINTS))
    parts = [(first, curve[first : first + each]) for first in range(0, len(curve), each)]
    return [
        {"leg": leg.name, "step": first + (len(part) + 1) / 2, "loss": _mean(part), "steps": len(part)}
        for first, part in parts
    ]


def _mean(part: Sequence[float | None]) -> float | None:
    """Returns the mean of the finite values; None, which is drawn as a gap, if there are none."""
    finite = [value for value in part if value is not None]
    return statistics.fmean(finite) if finite else None


def _domain(curves: list[dict[str, Any]], best: float | None) -> list[float]:
    losses = [row["loss"] for row in curves if row["loss"] is not None]
    least, most = min([*losses, *([best] if best is not None else [])]), max(losses)
    firsts = [row["loss"] for row in curves if row["step"] == curves[0]["step"] and row["loss"] is not None]
    if firsts and max(firsts) > least:
        most = min(most, least + DIVERGED * (max(firsts) - least))
    margin = 0.05 * ((most - least) or abs(most) or 1)
    return [least - margin, most + margin]


def _axis(report: Report, scale: alt.Scale) -> alt.Y:
    heading = leg_figures(report.data)["final_train_loss"].in_unit("Training loss")
    return alt.Y("loss:Q", scale=scale, **axis_above(heading, ticks=5))


def _optimum(best: float, y: alt.Y) -> list[alt.Chart]:
    at = rows([{"loss": best, "label": f"best possible {best:.4g}"}])
    rule = alt.Chart(at).mark_rule(color=QUIET, strokeDash=[4, 3]).encode(y=y)
    label = (
        alt.Chart(at)
        .mark_text(align="left", baseline="bottom", dx=4, dy=-3)
        .encode(x=alt.value(0), y=y, text="label:N")
    )
    return [rule, label]


def _description(legs: list[NamedLeg], best: float | None) -> str:
    ends = [f"{leg.name} ends at {last:.4f}" for leg in legs if (last := leg.leg.final_train_loss) is not None]
    text = f"Training loss of every step, mean over blocks: {', '.join(ends) or 'no leg ends with a finite loss'}."
    broken = [f"{leg.name} is not finite in {count} steps" for leg in legs if (count := leg.leg.loss_curve.count(None))]
    text += f" {'; '.join(broken)}." if broken else ""
    text += f" The lowest possible loss on this data is {best:.4f}." if best is not None else ""
    return text


def _caption(legs: list[NamedLeg]) -> str:
    each = max(-(-len(leg.leg.loss_curve) // POINTS) for leg in legs)
    return "Mean over blocks, warm-up included." + (f" Each point is the mean of {each} steps." if each > 1 else "")
