"""The charts of a report: one function per chart, which returns an altair chart, or None without data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from halftime.charts.bandwidth import bandwidth
from halftime.charts.conditions import conditions
from halftime.charts.loss import loss
from halftime.charts.loss_scale import loss_scale
from halftime.charts.memory import memory
from halftime.charts.roofline import roofline
from halftime.charts.speedup import speedup_by_block
from halftime.charts.step_times import step_times
from halftime.charts.theme import Chart, interactive, svg
from halftime.charts.turns import turns
from halftime.charts.waterfall import waterfall
from halftime.contract.report.report import Report

__all__ = [
    "CHARTS",
    "Chart",
    "Drawing",
    "bandwidth",
    "conditions",
    "drawn",
    "interactive",
    "loss",
    "loss_scale",
    "memory",
    "roofline",
    "speedup_by_block",
    "step_times",
    "svg",
    "turns",
    "waterfall",
]


#: The part of a report that a chart belongs to.
Part = Literal["charts", "explanation"]


@dataclass(frozen=True)
class ChartKind:
    """A chart of a report, and the text shown when the report has no data for it."""

    title: str
    draw: Callable[[Report], Chart | None]
    absence: str
    #: Whether a report without data for it leaves it out without a word.
    is_optional: bool = False
    part: Part = "charts"


@dataclass(frozen=True)
class Drawing:
    """A chart as pages show it: the SVG and a caption, or the reason why there is none."""

    title: str
    svg: Markup | None = None
    caption: str = ""
    absence: str = ""
    part: Part = "charts"


#: The charts in the order of a report.
CHARTS = {
    "speedup": ChartKind("Speedup by block", speedup_by_block, "No two legs were measured in the same block."),
    "turns": ChartKind(
        "Turns of the first block",
        turns,
        "The legs did not take turns, or no step times are stored.",
        is_optional=True,
    ),
    "waterfall": ChartKind(
        "From step to step",
        waterfall,
        "No speedup is explained.",
        is_optional=True,
        part="explanation",
    ),
    "roofline": ChartKind(
        "Roofline",
        roofline,
        "The device's ceilings, or the arithmetic of every kind of work, are unknown.",
        is_optional=True,
        part="explanation",
    ),
    "bandwidth": ChartKind(
        "Memory traffic",
        bandwidth,
        "The device's ceilings, or the bytes of every kind of work, are unknown.",
        is_optional=True,
        part="explanation",
    ),
    "step_times": ChartKind("Step time", step_times, "No step times are stored."),
    "loss": ChartKind("Training loss", loss, "No leg has a loss curve."),
    "memory": ChartKind("Peak memory", memory, "No leg has a memory breakdown."),
    "loss_scale": ChartKind(
        "Loss scale", loss_scale, "No leg used a gradient scaler, or its trace is no longer stored."
    ),
    "conditions": ChartKind(
        "Machine conditions", conditions, "The trials were too short to sample the machine's state."
    ),
}


def drawn(report: Report) -> dict[str, Drawing]:
    """Draws every chart of a report, by name; a chart without data has the reason instead, unless it is optional."""
    drawings = {name: _drawn(kind, report) for name, kind in CHARTS.items()}
    return {name: drawing for name, drawing in drawings.items() if drawing.svg or not CHARTS[name].is_optional}


def _drawn(kind: ChartKind, report: Report) -> Drawing:
    chart = kind.draw(report)
    if chart is None:
        return Drawing(kind.title, absence=kind.absence, part=kind.part)
    return Drawing(kind.title, svg(chart), chart.usermeta["caption"], part=kind.part)
