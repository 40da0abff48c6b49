"""Rows of the store as resources of the contract."""

import hashlib

from app.contract.benchmark import Benchmark, BenchmarkItem, Links, QueuePlace, WorkerRef
from app.contract.request import BenchmarkRequest
from app.store.tables import BenchmarkRow


def to_item(row: BenchmarkRow) -> BenchmarkItem:
    """A benchmark as a list shows it."""
    return BenchmarkItem.model_validate(_shared(row) | {"model_kind": row.model_kind, "device": row.device})


def to_benchmark(row: BenchmarkRow, place: QueuePlace) -> Benchmark:
    """The whole resource."""
    return Benchmark.model_validate(
        _shared(row)
        | {
            "version": row.version,
            "request": BenchmarkRequest.model_validate(row.request),
            "parameter_count": row.parameter_count,
            "queue": place,
            "progress": row.progress,
            "warnings": row.warnings,
        }
    )


def etag(row: BenchmarkRow, place: QueuePlace) -> str:
    """Changes with the row's version, and with what the answer shows of the queue."""
    return f'W/"{row.version}-{place.position}-{place.workers_online}"'


def strong_etag(stored: bytes, *rendering: str) -> str:
    """Of what is made from stored bytes by a certain rendering."""
    return f'"{hashlib.sha256(stored + "|".join(rendering).encode()).hexdigest()[:32]}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the client has this version already: weak comparison, as RFC 9110 section 13.1.2 asks."""
    known = {candidate.strip().removeprefix("W/") for candidate in (if_none_match or "").split(",")}
    return tag.removeprefix("W/") in known or "*" in known


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
