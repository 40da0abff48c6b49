"""Exports benchmarks and their figures as CSV: one line per candidate."""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import TextIO

from halftime.contract.report.figures import COMPARISON_FIGURES, LEG_FIGURES, Figure, flat, flat_names
from halftime.contract.report.report import Comparison, Leg, Report
from halftime.contract.resources.benchmark import Benchmark

Row = dict[str, object]

#: Columns that describe the benchmark and its report; they precede the figures.
BENCHMARK_COLUMNS = (
    "benchmark_id",
    "status",
    "created_at",
    "finished_at",
    "labels",
    "model_kind",
    "parameter_count",
    "batch_size",
    "device",
    "gpu",
    "torch",
    "baseline",
    "candidate",
    "verdict",
)


#: Column of the differences of metrics that only some tasks have, as JSON by the metric's name.
FURTHER_METRICS = "metric_differences"


def columns() -> list[str]:
    """Returns the header: all figures of a comparison with their intervals, and the exported figures of both legs."""
    compared = [name for figure in COMPARISON_FIGURES.values() for name in flat_names(figure)]
    of_legs = [f"{side}_{figure.name}" for figure in _leg_figures() for side in ("baseline", "candidate")]
    return [*BENCHMARK_COLUMNS, *compared, *of_legs, "failure", FURTHER_METRICS]


def write_csv(file: TextIO, benchmarks: Iterable[tuple[Benchmark, Report | None]]) -> int:
    """Writes every benchmark and returns their number. A benchmark without a report has one line without figures."""
    writer = csv.DictWriter(file, columns(), restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for benchmark, report in benchmarks:
        writer.writerows(_rows(benchmark, report))
        count += 1
    return count


def _rows(benchmark: Benchmark, report: Report | None) -> Iterator[Row]:
    row = _benchmark_columns(benchmark)
    if report is None:
        yield row
        return
    environment = report.environment
    row |= {"device": environment.device, "torch": environment.torch} if environment else {}
    for comparison in report.comparisons:
        yield row | _figures(report, comparison)


def _benchmark_columns(benchmark: Benchmark) -> Row:
    config = benchmark.request.config
    return {
        "benchmark_id": benchmark.id,
        "status": benchmark.status,
        "created_at": benchmark.created_at.isoformat(),
        "finished_at": benchmark.finished_at.isoformat() if benchmark.finished_at else "",
        "labels": json.dumps(benchmark.labels),
        "model_kind": benchmark.request.model.kind,
        "parameter_count": benchmark.parameter_count,
        "batch_size": config.training.batch_size,
        "device": config.device,
        "gpu": benchmark.worker.gpu if benchmark.worker else None,
        "baseline": config.baseline,
        "failure": benchmark.failure.code if benchmark.failure else None,
    }


def _figures(report: Report, comparison: Comparison) -> Row:
    baseline, candidate = report.baseline, comparison.candidate
    row: Row = {"baseline": baseline.precision, "candidate": candidate.precision, "verdict": comparison.verdict}
    for compared in COMPARISON_FIGURES.values():
        row |= flat(compared.name, compared.read(comparison))
    for figure in _leg_figures():
        row |= {f"baseline_{figure.name}": figure.read(baseline), f"candidate_{figure.name}": figure.read(candidate)}
    if comparison.metric_differences:
        further = {name: difference.model_dump() for name, difference in comparison.metric_differences.items()}
        row |= {FURTHER_METRICS: json.dumps(further)}
    return row


def _leg_figures() -> list[Figure[Leg]]:
    return [figure for figure in LEG_FIGURES.values() if figure.exported]
