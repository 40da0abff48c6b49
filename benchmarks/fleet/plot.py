"""`python -m benchmarks.fleet.plot` writes the plot for docs/scaling.md and prints its table from committed results."""

import json
from pathlib import Path
from typing import Any

import altair
import vl_convert

RESULTS = Path(__file__).parents[1] / "results"
PLOT = Path(__file__).parents[2] / "docs" / "images" / "fleet_throughput.svg"


def main() -> None:
    """Plot jobs per second against the number of workers; print them with the cores used."""
    points = json.loads((RESULTS / "fleet_throughput.cpu.json").read_text())["curve"]
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(vl_convert.vegalite_to_svg(_chart(points).to_json()) + "\n")
    print("| workers | jobs per second | cores of workers | cores of PostgreSQL |\n| --- | --- | --- | --- |")
    for point in points:
        cores = point["cores_used"]
        print(f"| {point['workers']} | {point['jobs_per_second']} | {cores['workers']} | {cores['postgresql']} |")


def _chart(points: list[dict[str, Any]]) -> altair.LayerChart:
    rows = [{"workers": str(point["workers"]), "jobs per second": point["jobs_per_second"]} for point in points]
    workers = altair.X("workers:O", sort=None, title="simulated workers", axis=altair.Axis(labelAngle=0))
    rate = altair.Y("jobs per second:Q", title="jobs per second", scale=altair.Scale(zero=True))
    line = altair.Chart(altair.Data(values=rows)).encode(workers, rate).mark_line(point=True, color="#0b5fa5")
    label = line.mark_text(dy=-12, color="#333333").encode(text=altair.Text("jobs per second:Q", format=".1f"))
    return (line + label).properties(width=420, height=240)


if __name__ == "__main__":
    main()
