"""Converts rows of the store to resources of the contract."""

from collections import Counter
from collections.abc import Sequence
from typing import cast

from app.store.database.tables import BenchmarkRow
from app.store.database.tables import SweepRow as SweepTable
from halftime.contract.report.failure import Failure
from halftime.contract.request.request import stored_request
from halftime.contract.resources.benchmark import (
    TERMINAL,
    Benchmark,
    BenchmarkItem,
    LegSummary,
    Links,
    QueuePlace,
    Status,
    Summary,
    WorkerRef,
)
from halftime.contract.resources.sweep import Sweep, SweepRow, stored_sweep


def to_item(row: BenchmarkRow) -> BenchmarkItem:
    """Returns a benchmark for a list."""
    model = {"model_kind": row.model_kind, "model_name": model_name(row)}
    return BenchmarkItem.model_validate(_shared(row) | model | {"device": row.device})


def model_name(row: BenchmarkRow) -> str:
    """Returns the display name of the benchmark's model."""
    return row.model_name or row.model_kind


def to_benchmark(row: BenchmarkRow, place: QueuePlace) -> Benchmark:
    """Returns the complete benchmark."""
    return Benchmark.model_validate(
        _shared(row)
        | {
            "version": row.version,
            "request": stored_request(row.request),
            "parameter_count": row.parameter_count,
            "queue": place,
            "progress": row.progress,
            "warnings": row.warnings,
        }
    )


def to_sweep(sweep: SweepTable, rows: Sequence[BenchmarkRow]) -> Sweep:
    """Returns a sweep with a table row for every candidate of every benchmark."""
    return Sweep(
        id=str(sweep.id),
        created_at=sweep.created_at,
        request=stored_sweep(sweep.request),
        counts=Counter(cast("Status", row.status) for row in rows),
        finished=all(row.status in TERMINAL for row in rows),
        rows=[table_row for row in rows for table_row in _sweep_rows(row)],
    )


def _sweep_rows(row: BenchmarkRow) -> list[SweepRow]:
    # Read without validation, which would take seconds for a hundred long requests.
    config = row.request["config"]
    legs = Summary.model_validate(row.summary).legs if row.summary else []
    baseline = legs[0] if legs else None
    candidates: list[LegSummary | None] = [*legs[1:]] or [None]
    return [
        SweepRow(
            benchmark_id=str(row.id),
            status=row.status,
            model=model_name(row),
            parameter_count=row.parameter_count,
            batch_size=config["training"]["batch_size"],
            baseline=config["baseline"],
            candidate=candidate.precision if candidate else None,
            verdict=candidate.verdict if candidate else None,
            speedup=candidate.speedup if candidate else None,
            memory_reduction_percent=candidate.memory_reduction_percent if candidate else None,
            baseline_samples_per_second=baseline.samples_per_second if baseline else None,
            candidate_samples_per_second=candidate.samples_per_second if candidate else None,
            baseline_peak_memory_bytes=baseline.peak_memory_bytes if baseline else None,
            candidate_peak_memory_bytes=candidate.peak_memory_bytes if candidate else None,
            baseline_largest_kinds=baseline.largest_kinds if baseline else [],
            candidate_largest_kinds=candidate.largest_kinds if candidate else [],
            failure=Failure.model_validate(row.failure) if row.failure else None,
        )
        for candidate in candidates
    ]


def _shared(row: BenchmarkRow) -> dict[str, object]:
    own = f"/benchmarks/{row.id}"
    return {
        "id": str(row.id),
        "status": row.status,
        "labels": row.labels,
        "priority": row.priority,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "attempt": row.attempt,
        "worker": WorkerRef(id=row.worker_id, gpu=row.worker_gpu) if row.worker_id else None,
        "summary": row.summary,
        "failure": row.failure,
        "links": Links(
            self=own, cancel=f"{own}/cancel", events=f"{own}/events", report=f"{own}/report", logs=f"{own}/logs"
        ),
    }
