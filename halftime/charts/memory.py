"""The memory of every leg by purpose, at its steady peak."""

from typing import Any

import altair as alt

from halftime.charts.theme import GROUND, PARTS, Chart, layered, rows, styled
from halftime.contract.report.named_legs import NamedLeg, named_legs
from halftime.contract.report.report import Report

ROW_HEIGHT = 44
MIB, GIB = 2**20, 2**30


def memory(report: Report) -> Chart | None:
    """Draws one bar per leg, stacked by purpose; None if no leg has a memory breakdown."""
    legs = [leg for leg in named_legs(report) if leg.leg.memory_breakdown]
    if not legs:
        return None
    largest = max(leg.leg.memory_breakdown.total_bytes() for leg in legs if leg.leg.memory_breakdown)
    unit, name = (GIB, "GiB") if largest >= 4 * GIB else (MIB, "MiB")
    parts = [row for leg in legs for row in _parts(leg, unit)]
    used = [part for part in PARTS if any(row["part"] == part and row["bytes"] for row in parts)]
    y = alt.Y("leg:N", title=None, sort=[leg.name for leg in legs], axis=alt.Axis(ticks=False))
    legend = alt.Legend(columns=4, columnPadding=16, symbolType="square", symbolStrokeWidth=0, values=used)
    colour = alt.Color("part:N", scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())), legend=legend)
    title = f"Peak memory ({name})"
    bars = (
        alt.Chart(rows(parts))
        .mark_bar(size=26, stroke=GROUND, strokeWidth=1)
        .encode(
            x=alt.X("from:Q", title=title, axis=alt.Axis(tickCount=5, format="~s" if unit == MIB else "~r")),
            x2="to:Q",
            y=y,
            color=colour,
            tooltip=["leg:N", "part:N", alt.Tooltip("bytes:Q", format=",")],
        )
    )
    totals = [_total(leg, unit, name) for leg in legs]
    labels = alt.Chart(rows(totals)).mark_text(align="left", dx=6).encode(x="to:Q", y=y, text="label:N")
    layers = layered(ROW_HEIGHT * len(legs), bars, labels)
    return styled(layers, _description(legs), "The parts of the steady peak, in a step after warm-up.")


def _parts(leg: NamedLeg, unit: int) -> list[dict[str, Any]]:
    """Returns the parts of a bar end to end, in the order of the contract."""
    breakdown, end = leg.leg.memory_breakdown, 0
    parts = []
    for part, size_bytes in (breakdown.model_dump() if breakdown else {}).items():
        ends = {"from": end / unit, "to": (end + size_bytes) / unit}
        parts.append({"leg": leg.name, "part": part, "bytes": size_bytes, **ends})
        end += size_bytes
    return parts


def _total(leg: NamedLeg, unit: int, name: str) -> dict[str, Any]:
    total = (leg.leg.memory_breakdown.total_bytes() if leg.leg.memory_breakdown else 0) / unit
    return {"leg": leg.name, "to": total, "label": f"{total:,.1f} {name}"}


def _description(legs: list[NamedLeg]) -> str:
    parts = []
    for leg in legs:
        if leg.leg.memory_breakdown:
            sizes = leg.leg.memory_breakdown.model_dump()
            largest = max(sizes, key=lambda part: sizes[part])
            total = leg.leg.memory_breakdown.total_bytes()
            parts.append(f"{leg.name} {total / MIB:,.1f} MiB, most of it {largest} ({sizes[largest] / MIB:,.1f} MiB)")
    return f"Memory at the steady peak, by purpose: {'; '.join(parts)}."
