"""The theme of all charts, and their conversion to SVG; this module imports altair and vl-convert."""

import html
import re
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from halftime.contract.precisions import MARKS

#: A chart for pages, files, print and notebooks.
Chart = alt.LayerChart | alt.VConcatChart

#: Colours of the light mode; in SVG they are replaced by a page's own, which follow its mode.
INK, QUIET, LINE, GROUND, ACCENT = "#1b1f23", "#57606a", "#d5d9dd", "#ffffff", "#0b62a5"
LEGS = {name: mark.colour for name, mark in MARKS.items()}
PARTS = {
    "parameters": "#173f67",
    "gradients": "#4a90d6",
    "optimizer": "#5f3a9c",
    "buffers": "#8b929a",
    "activations": "#9c3d00",
    "temporary": "#c7820f",
    "other": "#3f4a2c",
}
#: Time that a kind of work saved or cost.
SAVED, COST = "#176b36", "#a3201f"

#: Line styles in addition to the colours, for readers who cannot distinguish them.
DASHES = {name: list(mark.dash) for name, mark in MARKS.items()}
#: Line style of a second leg with the same precision.
AGAIN = [1, 4]
SHAPES = {name: mark.shape for name, mark in MARKS.items()}

#: The colours' names in `halftime.css`.
VARIABLES = {
    **{INK: "ink", QUIET: "quiet", LINE: "line", GROUND: "ground", ACCENT: "accent", SAVED: "pass", COST: "fail"},
    **{colour: name for names in (LEGS, PARTS) for name, colour in names.items()},
}

#: Width in pixels including axes: readable next to another chart, and on a phone.
WIDTH = 430
FONT, FONT_SIZE = "system-ui, sans-serif", 13


def rows(values: list[dict[str, Any]]) -> alt.InlineData:
    """Returns the data of a layer, stored in the chart itself."""
    return alt.InlineData(values=values)


def axis_above(title: str, ticks: int, label_format: str = "~r") -> dict[str, Any]:
    """Returns a vertical axis with its title horizontally above it, which saves width."""
    flat: dict[str, Any] = {"titleAnchor": "start", "titleAngle": 0, "titleAlign": "left", "titleBaseline": "bottom"}
    # The same width in every panel, so that panels are aligned.
    axis = alt.Axis(**flat, titleX=0, titleY=-8, tickCount=ticks, format=label_format, minExtent=34)
    return {"title": title, "axis": axis}


def layered(height: int, *layers: alt.Chart) -> alt.LayerChart:
    """Stacks layers, the first at the bottom."""
    chart: alt.LayerChart = alt.LayerChart(layer=list(layers)).properties(height=height)
    return chart


def leg_colour() -> alt.Color:
    """Returns the colour by precision, without a legend, for charts that label their legs directly."""
    return alt.Color("precision:N", scale=alt.Scale(domain=list(LEGS), range=list(LEGS.values())), legend=None)


def styled(chart: Chart, description: str, caption: str) -> Chart:
    """Applies the theme, a description of the content, and a caption that explains how to read the chart."""
    # The padding allows for fonts that are wider than the one that text was measured in.
    chart = chart.properties(padding={"left": 12, "top": 5, "right": 20, "bottom": 5})
    if isinstance(chart, alt.LayerChart):
        chart = chart.properties(width=WIDTH, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    fonts = {"labelFont": FONT, "titleFont": FONT, "labelColor": QUIET, "titleColor": QUIET}
    sizes = {"labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE, "titleFontWeight": "normal"}
    axis = {**fonts, **sizes, "gridColor": LINE, "tickColor": LINE, "domain": False, "labelPadding": 4}
    legend = {**fonts, **sizes, "orient": "top", "title": None, "labelColor": INK, "symbolStrokeWidth": 3}
    configured: Chart = chart.properties(description=description, usermeta={"caption": caption}).configure(
        background=GROUND,
        font=FONT,
        aria=False,
        axis=axis,
        legend=legend,
        text={"font": FONT, "fontSize": FONT_SIZE, "color": INK},
        view={"stroke": None},
    )
    return configured


def interactive(chart: Chart) -> Chart:
    """Makes a chart interactive for a notebook: pan and zoom for single charts; panels have tooltips only."""
    return chart.interactive() if isinstance(chart, alt.LayerChart) else chart


def svg(chart: Chart) -> Markup:
    """Converts a chart to SVG: one image with a description for screen readers, in the colours of the page."""
    image = vl_convert.vegalite_to_svg(chart.to_dict())
    image = re.sub(r'"(#[0-9a-f]{6})"', _variable, image)
    image = re.sub(r' (?:role|aria-\w+)="[^"]*"', "", image)
    label = html.escape(str(chart.description))
    return Markup(  # noqa: S704 # generated here; clients' text is escaped by Vega, the label above
        image.replace("<svg ", f'<svg role="img" aria-label="{label}" overflow="visible" ', 1)
    )


def _variable(match: re.Match[str]) -> str:
    """Replaces a colour by a CSS variable; the colour is its fallback outside the page."""
    name = VARIABLES.get(match[1])
    return f'"var(--{name}, {match[1]})"' if name else match[0]
