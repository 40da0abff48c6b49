"""The machine's state in each trial: the GPU's clock, temperature and power, or the load of the host."""

from collections.abc import Callable
from typing import Any

import altair as alt

from halftime.charts.theme import GROUND, LEGS, SHAPES, WIDTH, Chart, axis_above, layered, rows, styled
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import Report
from halftime.contract.report.telemetry import Spread
from halftime.contract.report.trial import TrialResult

HEIGHT = 90
#: Width in pixels reserved for the vertical axis.
AXIS = 50

CAPTION = "Each mark is the median of a trial's samples; the line ranges from the smallest to the largest."
SURVEYED = " The first of each leg is the survey; in blocks, the legs take turns."

Read = Callable[[TrialResult], Spread | None]


def conditions(report: Report) -> Chart | None:
    """Draws a panel per quantity with a mark per trial in order of time; None if nothing was recorded."""
    trials = sorted(
        ((leg.name, trial) for leg in named_legs(report) for trial in leg.leg.all_trials()),
        key=lambda named: named[1].training_started_at,
    )
    panels = [(title, data) for title, read in _quantities(report).items() if (data := _rows(trials, read))]
    if not panels:
        return None
    charts = [_panel(title, data, len(trials), title == panels[-1][0]) for title, data in panels]
    surveyed = SURVEYED if any(leg.leg.survey for leg in named_legs(report)) else ""
    return styled(alt.vconcat(*charts, spacing=14), _description(panels, len(trials)), CAPTION + surveyed)


def _quantities(report: Report) -> dict[str, Read]:
    """Returns the quantities to draw by title, which includes the unit."""
    if any(trial.telemetry.gpu for leg in named_legs(report) for trial in leg.leg.all_trials()):
        return {
            "SM clock (MHz)": lambda trial: trial.telemetry.gpu.sm_clock_mhz if trial.telemetry.gpu else None,
            "Temperature (°C)": lambda trial: trial.telemetry.gpu.temperature_celsius if trial.telemetry.gpu else None,
            "Power (W)": lambda trial: trial.telemetry.gpu.power_watts if trial.telemetry.gpu else None,
        }
    return {
        "Used by others (cores)": lambda trial: _single(trial.telemetry.host.foreign_cores),
        "Load average": lambda trial: _single(trial.telemetry.host.load_average),
    }


def _single(value: float | None) -> Spread | None:
    return None if value is None else Spread(smallest=value, median=value, largest=value)


def _rows(trials: list[tuple[str, TrialResult]], read: Read) -> list[dict[str, Any]]:
    return [
        {"trial": place, "leg": name, "precision": trial.precision, "disturbed": bool(trial.disturbances)}
        | spread.model_dump()
        for place, (name, trial) in enumerate(trials, start=1)
        if (spread := read(trial))
    ]


def _panel(title: str, data: list[dict[str, Any]], trials: int, is_last: bool) -> alt.LayerChart:
    """Draws one quantity. Only the lowest panel has a horizontal axis; all panels share one legend."""
    every = max(1, -(-trials // 12))
    axis = alt.Axis(grid=False, values=list(range(1, trials + 1, every)), format="d", labels=is_last, ticks=is_last)
    x = alt.X(
        "trial:Q", title="Trial, in order of time" if is_last else None, axis=axis,
        scale=alt.Scale(domain=[0.5, trials + 0.5], nice=False),
    )  # fmt: skip
    vertical = axis_above(title, ticks=3, label_format=",~r") | {"scale": alt.Scale(zero=False)}
    y, middle = alt.Y("smallest:Q", **vertical), alt.Y("median:Q", **vertical)
    names = list(dict.fromkeys(row["precision"] for row in data))
    colour = alt.Color("precision:N", scale=alt.Scale(domain=names, range=[LEGS[name] for name in names]))
    shape = alt.Shape("precision:N", scale=alt.Scale(domain=names, range=[SHAPES[name] for name in names]))
    chart = alt.Chart(rows(data))
    tooltip = ["leg:N", "trial:Q", "smallest:Q", "median:Q", "largest:Q", "disturbed:N"]
    spans = chart.mark_rule(strokeWidth=2).encode(x=x, y=y, y2="largest:Q", color=colour)
    marks = chart.mark_point(filled=True, size=60, opacity=1, stroke=GROUND, strokeWidth=1).encode(
        x=x, y=middle, color=colour, shape=shape, tooltip=tooltip
    )
    panel: alt.LayerChart = layered(HEIGHT, spans, marks).properties(width=WIDTH - AXIS)
    return panel


def _description(panels: list[tuple[str, list[dict[str, Any]]]], trials: int) -> str:
    ranges = [
        f"{title} {min(row['smallest'] for row in data):.4g} to {max(row['largest'] for row in data):.4g}"
        for title, data in panels
    ]
    disturbed = sum(row["disturbed"] for row in panels[0][1])
    return f"The machine over {trials} trials: {'; '.join(ranges)}. Disturbed trials: {disturbed}."
