"""How every chart looks, and a chart as SVG: altair and vl-convert are loaded with this module, and not before."""

import html
import re
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from halftime.contract.precisions import MARKS

#: One definition serves pages, files, print and notebooks.
Chart = alt.LayerChart | alt.VConcatChart

#: Of the light mode; a page's own take their place in SVG, where they follow its mode.
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

#: Beside the colours, for those who cannot tell them apart.
DASHES = {name: list(mark.dash) for name, mark in MARKS.items()}
#: Of a precision that another leg has already.
AGAIN = [1, 4]
SHAPES = {name: mark.shape for name, mark in MARKS.items()}

#: The names that `halftime.css` gives the colours.
VARIABLES = {
    **{INK: "ink", QUIET: "quiet", LINE: "line", GROUND: "ground", ACCENT: "accent"},
    **{colour: name for names in (LEGS, PARTS) for name, colour in names.items()},
}

#: With everything around it: wide enough to read beside another, and on a telephone.
WIDTH = 430
FONT, FONT_SIZE = "system-ui, sans-serif", 13


def rows(values: list[dict[str, Any]]) -> alt.InlineData:
    """The data of a layer, held by the chart itself."""
    return alt.InlineData(values=values)


def axis_above(title: str, ticks: int, label_format: str = "~r") -> dict[str, Any]:
    """A vertical axis whose title lies flat above it, where it takes no width and needs no turned head."""
    flat: dict[str, Any] = {"titleAnchor": "start", "titleAngle": 0, "titleAlign": "left", "titleBaseline": "bottom"}
    # As wide in every panel, so that panels stand exactly above each other.
    axis = alt.Axis(**flat, titleX=0, titleY=-8, tickCount=ticks, format=label_format, minExtent=34)
    return {"title": title, "axis": axis}


def layered(height: int, *layers: alt.Chart) -> alt.LayerChart:
    """One upon the other, the first lowest."""
    chart: alt.LayerChart = alt.LayerChart(layer=list(layers)).properties(height=height)
    return chart


def leg_colour() -> alt.Color:
    """By precision, the same in every chart, for those that name their legs beside the marks."""
    return alt.Color("precision:N", scale=alt.Scale(domain=list(LEGS), range=list(LEGS.values())), legend=None)


def styled(chart: Chart, description: str, caption: str) -> Chart:
    """The chart in the look of all, with what it shows in words, and how to read it."""
    # A reader's typeface may be wider than the one that text was measured in.
    chart = chart.properties(padding={"left": 12, "top": 5, "right": 20, "bottom": 5})
    if isinstance(chart, alt.LayerChart):
        chart = chart.properties(width=WIDTH, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    plain = {"labelFont": FONT, "titleFont": FONT, "labelColor": QUIET, "titleColor": QUIET}
    sizes = {"labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE, "titleFontWeight": "normal"}
    axis = {**plain, **sizes, "gridColor": LINE, "tickColor": LINE, "domain": False, "labelPadding": 4}
    legend = {**plain, **sizes, "orient": "top", "title": None, "labelColor": INK, "symbolStrokeWidth": 3}
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
    """For a notebook: it can be moved and zoomed; several panels stay where they are, and tell their figures."""
    return chart.interactive() if isinstance(chart, alt.LayerChart) else chart


def svg(chart: Chart) -> Markup:
    """The chart as SVG: one image with its description to a screen reader, in the colours of the page around it."""
    drawn = vl_convert.vegalite_to_svg(chart.to_dict())
    drawn = re.sub(r'"(#[0-9a-f]{6})"', _variable, drawn)
    drawn = re.sub(r' (?:role|aria-\w+)="[^"]*"', "", drawn)
    label = html.escape(str(chart.description))
    return Markup(  # noqa: S704 # made here, and what is a client's is escaped: text by Vega, the label above
        drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" overflow="visible" ', 1)
    )


def _variable(found: re.Match[str]) -> str:
    """The colour remains for whoever takes the drawing out of the page."""
    name = VARIABLES.get(found[1])
    return f'"var(--{name}, {found[1]})"' if name else found[0]
