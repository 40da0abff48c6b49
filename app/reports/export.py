"""Benchmarks with their figures as CSV: one line per candidate."""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import TextIO

from halftime.contract.report.report import Comparison, Difference, Estimate, Report
from halftime.contract.resources.benchmark import Benchmark

Row = dict[str, object]

COLUMNS = [
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
    "speedup",
    "speedup_ci_low",
    "speedup_ci_high",
    "memory_reduction_percent",
    "memory_reduction_percent_ci_low",
    "memory_reduction_percent_ci_high",
    "accuracy_difference",
    "loss_difference",
    "baseline_samples_per_second",
    "candidate_samples_per_second",
    "baseline_peak_memory_bytes",
    "candidate_peak_memory_bytes",
    "failure",
]


def write_csv(file: TextIO, benchmarks: Iterable[tuple[Benchmark, Report | None]]) -> int:
    """Writes every benchmark; one without a report has a line without figures. Gives the number of benchmarks."""
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    count = 0
    for benchmark, report in benchmarks:
        writer.writerows(_rows(benchmark, report))
        count += 1
    return count


def _rows(benchmark: Benchmark, report: Report | None) -> Iterator[Row]:
    about = _about(benchmark)
    if report is None:
        yield about
        return
    environment = report.environment
    about |= {"device": environment.device, "torch": environment.torch} if environment else {}
    for comparison in report.comparisons:
        yield about | _figures(report, comparison)


def _about(benchmark: Benchmark) -> Row:
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
    return {
        "baseline": baseline.precision,
        "candidate": candidate.precision,
        "verdict": comparison.verdict,
        **_estimate("speedup", comparison.speedup),
        **_estimate("memory_reduction_percent", comparison.memory_reduction_percent),
        "accuracy_difference": _value(comparison.accuracy_difference),
        "loss_difference": _value(comparison.loss_difference),
        "baseline_samples_per_second": baseline.samples_per_second,
        "candidate_samples_per_second": candidate.samples_per_second,
        "baseline_peak_memory_bytes": baseline.peak_memory_bytes,
        "candidate_peak_memory_bytes": candidate.peak_memory_bytes,
    }


def _estimate(name: str, found: Estimate | None) -> Row:
    if found is None:
        return {}
    return {name: found.value, f"{name}_ci_low": found.ci_low, f"{name}_ci_high": found.ci_high}


def _value(found: Difference | None) -> float | None:
    return found.value if found else None
