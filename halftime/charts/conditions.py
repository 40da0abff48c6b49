"""What the machine did meanwhile, trial by trial: the GPU's clock, heat and power, else the load of the host."""

from collections.abc import Callable
from typing import Any

import altair as alt

from halftime.charts.theme import GROUND, LEGS, SHAPES, WIDTH, Chart, axis_above, layered, rows, styled
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.report import Report
from halftime.contract.report.telemetry import Spread
from halftime.contract.report.trial import TrialResult

HEIGHT = 90
#: Of the width, for the vertical axis.
AXIS = 50

CAPTION = "A mark at the median of each trial's samples, from the smallest to the largest of them."

Read = Callable[[TrialResult], Spread | None]


def conditions(report: Report) -> Chart | None:
    """A panel per quantity, a mark per trial in order of time; None where nothing was recorded."""
    trials = sorted(
        ((leg.name, trial) for leg in named_legs(report) for trial in leg.leg.trials),
        key=lambda named: named[1].training_started_at,
    )
    panels = [(title, found) for title, read in _quantities(report).items() if (found := _rows(trials, read))]
    if not panels:
        return None
    drawn = [_panel(title, found, len(trials), title == panels[-1][0]) for title, found in panels]
    return styled(alt.vconcat(*drawn, spacing=14), _words(panels, len(trials)), CAPTION)


def _quantities(report: Report) -> dict[str, Read]:
    """By title with the unit."""
    if any(trial.telemetry.gpu for leg in named_legs(report) for trial in leg.leg.trials):
        return {
            "SM clock (MHz)": lambda trial: trial.telemetry.gpu.sm_clock_mhz if trial.telemetry.gpu else None,
            "Temperature (°C)": lambda trial: trial.telemetry.gpu.temperature_celsius if trial.telemetry.gpu else None,
            "Power (W)": lambda trial: trial.telemetry.gpu.power_watts if trial.telemetry.gpu else None,
        }
    return {
        "Busy for others (cores)": lambda trial: _single(trial.telemetry.host.foreign_cores),
        "Load average": lambda trial: _single(trial.telemetry.host.load_average),
    }


def _single(value: float | None) -> Spread | None:
    return None if value is None else Spread(smallest=value, median=value, largest=value)


def _rows(trials: list[tuple[str, TrialResult]], read: Read) -> list[dict[str, Any]]:
    return [
        {"trial": place, "leg": name, "precision": trial.precision, "disturbed": bool(trial.disturbances)}
        | found.model_dump()
        for place, (name, trial) in enumerate(trials, start=1)
        if (found := read(trial))
    ]


def _panel(title: str, found: list[dict[str, Any]], trials: int, is_last: bool) -> alt.LayerChart:
    """Only the lowest panel says what runs along it; only the first needs a legend, which all share."""
    every = max(1, -(-trials // 12))
    axis = alt.Axis(grid=False, values=list(range(1, trials + 1, every)), format="d", labels=is_last, ticks=is_last)
    x = alt.X(
        "trial:Q", title="Trial, in order of time" if is_last else None, axis=axis,
        scale=alt.Scale(domain=[0.5, trials + 0.5], nice=False),
    )  # fmt: skip
    vertical = axis_above(title, ticks=3, label_format=",~r") | {"scale": alt.Scale(zero=False)}
    y, middle = alt.Y("smallest:Q", **vertical), alt.Y("median:Q", **vertical)
    names = list(dict.fromkeys(row["precision"] for row in found))
    colour = alt.Color("precision:N", scale=alt.Scale(domain=names, range=[LEGS[name] for name in names]))
    shape = alt.Shape("precision:N", scale=alt.Scale(domain=names, range=[SHAPES[name] for name in names]))
    drawn = alt.Chart(rows(found))
    told = ["leg:N", "trial:Q", "smallest:Q", "median:Q", "largest:Q", "disturbed:N"]
    spans = drawn.mark_rule(strokeWidth=2).encode(x=x, y=y, y2="largest:Q", color=colour)
    marks = drawn.mark_point(filled=True, size=60, opacity=1, stroke=GROUND, strokeWidth=1).encode(
        x=x, y=middle, color=colour, shape=shape, tooltip=told
    )
    panel: alt.LayerChart = layered(HEIGHT, spans, marks).properties(width=WIDTH - AXIS)
    return panel


def _words(panels: list[tuple[str, list[dict[str, Any]]]], trials: int) -> str:
    told = [
        f"{title} {min(row['smallest'] for row in found):.4g} to {max(row['largest'] for row in found):.4g}"
        for title, found in panels
    ]
    disturbed = sum(row["disturbed"] for row in panels[0][1])
    return f"The machine over {trials} trials: {'; '.join(told)}. Disturbed trials: {disturbed}."
