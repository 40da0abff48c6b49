"""The pictures of a report: one function per chart, which gives an altair chart, or None with nothing to show."""

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from halftime.charts.conditions import conditions
from halftime.charts.loss import loss
from halftime.charts.loss_scale import loss_scale
from halftime.charts.memory import memory
from halftime.charts.speedup import speedup_by_block
from halftime.charts.step_times import step_times
from halftime.charts.theme import Chart, interactive, svg
from halftime.contract.report.report import Report

__all__ = [
    "CHARTS",
    "Chart",
    "Drawing",
    "conditions",
    "drawn",
    "interactive",
    "loss",
    "loss_scale",
    "memory",
    "speedup_by_block",
    "step_times",
    "svg",
]


@dataclass(frozen=True)
class ChartKind:
    """A chart of a report, and why a report may be without it."""

    title: str
    draw: Callable[[Report], Chart | None]
    absence: str


@dataclass(frozen=True)
class Drawing:
    """A chart as pages show it: the picture and how to read it, or why there is none."""

    title: str
    svg: Markup | None = None
    caption: str = ""
    absence: str = ""


#: In the order of a report.
CHARTS = {
    "speedup": ChartKind("Speedup, block by block", speedup_by_block, "No two legs were measured in the same blocks."),
    "step_times": ChartKind("Time of a step", step_times, "No times of single steps are held."),
    "loss": ChartKind("Training loss", loss, "No leg has a loss curve."),
    "memory": ChartKind("Memory at the peak", memory, "No leg's memory was accounted for."),
    "loss_scale": ChartKind(
        "Loss scale", loss_scale, "No leg used a gradient scaler, or its trace is not held any more."
    ),
    "conditions": ChartKind("The machine meanwhile", conditions, "The trials were too short to watch the machine."),
}


def drawn(report: Report) -> dict[str, Drawing]:
    """Every chart of a report by its name, those that it lacks with the reason."""
    return {name: _drawn(kind, report) for name, kind in CHARTS.items()}


def _drawn(kind: ChartKind, report: Report) -> Drawing:
    chart = kind.draw(report)
    if chart is None:
        return Drawing(kind.title, absence=kind.absence)
    return Drawing(kind.title, svg(chart), chart.usermeta["caption"])
