"""The tables. Procrastinate has its own tables in the same database."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    bindparam,
    column,
    false,
    func,
    literal,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]

#: Procrastinate's tables, with the columns that are used here.
ENTRIES = table(
    "procrastinate_jobs",
    column("id"),
    column("status"),
    column("task_name"),
    column("args", JSONB),
    column("worker_id", BigInteger),
)
ENTRY_EVENTS = table("procrastinate_events", column("job_id"), column("type"), column("at"))
QUEUE_WORKERS = table("procrastinate_workers", column("id"), column("last_heartbeat", DateTime(timezone=True)))


#: Rare statuses, written into the statement as literals: PostgreSQL's generic plan for a frequent statement covers any
#: status, so it cannot use a partial index for these and overestimates their rows.
QUEUED = literal("queued", Text, literal_execute=True)
ACTIVE = bindparam("active", ["running", "cancelling"], Text, expanding=True, literal_execute=True)


class Base(DeclarativeBase):
    """Maps Python types to PostgreSQL's."""

    type_annotation_map = {  # noqa: RUF012 # SQLAlchemy reads it as a class attribute
        Json: JSONB,
        list[Json]: JSONB(none_as_null=True),
        dict[str, str]: JSONB,
        list[str]: ARRAY(Text),
        str: Text,
        datetime: DateTime(timezone=True),
    }


class BenchmarkRow(Base):
    """A benchmark with its state and results. Every UPDATE through the ORM increments `version`."""

    __tablename__ = "benchmarks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    status: Mapped[str]
    request: Mapped[Json]
    parameter_count: Mapped[int | None] = mapped_column(BigInteger)
    #: The sweep that it belongs to, if any.
    sweep_id: Mapped[UUID | None] = mapped_column(ForeignKey("sweeps.id", ondelete="SET NULL"))
    #: The key that submitted it; null if none was required.
    api_key_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))
    labels: Mapped[dict[str, str]]
    model_kind: Mapped[str]
    #: Display name of the model; null means its kind.
    model_name: Mapped[str | None]
    device: Mapped[str]
    priority: Mapped[int]
    queue: Mapped[str]
    #: The queue entry of the current attempt: the token that every write of a worker is checked against.
    queue_entry_id: Mapped[int | None] = mapped_column(BigInteger)
    #: Whether a worker had claimed it before; it then precedes others with its priority.
    came_back: Mapped[bool] = mapped_column(default=False, server_default=false())
    attempt: Mapped[int] = mapped_column(default=0)
    worker_id: Mapped[str | None]
    worker_gpu: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    progress: Mapped[Json | None]
    summary: Mapped[Json | None]
    failure: Mapped[Json | None]
    warnings: Mapped[list[str]] = mapped_column(default=list)
    last_event: Mapped[int] = mapped_column(default=0)
    #: Whether retention has removed the report's raw samples and the logs.
    samples_dropped: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: The report as gzipped JSON: raw samples are long and compress well.
    report_gzip: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    #: Trace context of the request that submitted it, if requests are traced.
    traceparent: Mapped[str | None]
    #: The newest part of the trials' standard error.
    logs: Mapped[str] = mapped_column(default="", deferred=True)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 # SQLAlchemy reads it as a class attribute
    __table_args__ = (
        Index("benchmarks_queued", "queue", "priority", "id", postgresql_where="status = 'queued'"),
        Index("benchmarks_leased", "lease_expires_at", postgresql_where="lease_expires_at IS NOT NULL"),
        Index("benchmarks_labels", "labels", postgresql_using="gin"),
        Index("benchmarks_status", "status", "id"),
        Index("benchmarks_sweep", "sweep_id", "id", postgresql_where="sweep_id IS NOT NULL"),
        Index("benchmarks_finished", "finished_at", postgresql_where="finished_at IS NOT NULL"),
        Index("benchmarks_with_samples", "finished_at", postgresql_where="NOT samples_dropped"),
        Index("benchmarks_model_kind", "model_kind", "id"),
        Index("benchmarks_device", "device", "id"),
    )

    @property
    def holder(self) -> str:
        """The worker that has the lease."""
        assert self.worker_id is not None, "no worker has the benchmark"
        return self.worker_id


class SweepRow(Base):
    """A sweep; its benchmarks refer to it."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    request: Mapped[Json]


class IdempotencyKeyRow(Base):
    """An idempotency key, and the benchmark or sweep that was submitted with it."""

    __tablename__ = "idempotency_keys"

    #: ID of the API key that submitted it; empty without authentication.
    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    benchmark_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("benchmarks.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    )
    sweep_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("sweeps.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("num_nonnulls(benchmark_id, sweep_id) = 1", name="idempotency_keys_one"),
        Index("idempotency_keys_benchmark", "benchmark_id"),
        Index("idempotency_keys_sweep", "sweep_id", postgresql_where="sweep_id IS NOT NULL"),
    )


class ApiKeyRow(Base):
    """An API key. Rows are never deleted, because benchmarks refer to the key that submitted them."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    #: Hash of the key, which itself is not stored.
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]]
    submits_per_hour: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class KeySubmitsRow(Base):
    """Number of benchmarks that a key with a quota submitted at one time.

    Rows outlive the benchmarks and are deleted when they leave the quota's window.
    """

    __tablename__ = "key_submits"

    api_key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    submitted_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    benchmarks: Mapped[int]


class CompletedBlockRow(Base):
    """A completed block of a benchmark that has not ended."""

    __tablename__ = "completed_blocks"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    #: Position in the benchmark, from 0.
    index: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    worker_id: Mapped[str]
    #: Fingerprint of device, versions and request, which a later attempt must match.
    measured_with: Mapped[Json]
    #: The block with its raw samples as gzipped JSON.
    block_gzip: Mapped[bytes] = mapped_column(LargeBinary)


class TraceRow(Base):
    """The trace of a leg's profiled steps."""

    __tablename__ = "traces"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    #: Name of the leg.
    leg: Mapped[str] = mapped_column(primary_key=True)
    #: Gzipped JSON of Chrome's Trace Event Format.
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class EventRow(Base):
    """An event of a benchmark; `seq` counts from 1 without gaps."""

    __tablename__ = "events"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[Json]


class WorkerRow(Base):
    """A worker, live while its heartbeat is recent. Its row is kept for days, to show workers that disappeared."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Session of the process that owns the row; a successor with the same ID takes it over.
    session: Mapped[UUID]
    device_name: Mapped[str]
    device_kind: Mapped[str]
    gpu: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: The device's support for each precision, measured when the worker started.
    precisions: Mapped[list[Json] | None]
    #: What it can do at most, measured at the same time.
    ceilings: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    queues: Mapped[list[str]]
    online: Mapped[bool]
    #: Whether it takes no more benchmarks. Kept when the process restarts.
    draining: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: What is wrong with its device; null for a healthy one.
    quarantine_reason: Mapped[str | None]
    quarantined_since: Mapped[datetime | None]
    current_benchmark: Mapped[UUID | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_heartbeat: Mapped[datetime] = mapped_column(server_default=func.now())
    halftime_version: Mapped[str]


class WebhookDeliveryRow(Base):
    """A webhook message about one event of a benchmark. Its ID is the message's ID in every attempt."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"))
    event: Mapped[str]
    state: Mapped[str] = mapped_column(default="pending")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: Attempts since it was created or last replayed.
    attempts: Mapped[int] = mapped_column(default=0)
    last_attempt_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    #: The queue entry of the next or current attempt: the token that its outcome is checked against.
    queue_entry_id: Mapped[int | None] = mapped_column(BigInteger)
    #: Time of the next attempt; during an attempt, the time after which it counts as lost.
    next_attempt_at: Mapped[datetime | None]

    __table_args__ = (
        Index("webhook_deliveries_benchmark", "benchmark_id", "id"),
        Index("webhook_deliveries_due", "next_attempt_at", postgresql_where="state = 'pending'"),
    )


class PurgedRow(Base):
    """A tombstone of a benchmark or sweep that retention deleted."""

    __tablename__ = "purged"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purged_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReaperTurnRow(Base):
    """The start of the reaper's last round in any process; a single row."""

    __tablename__ = "reaper_turns"

    id: Mapped[int] = mapped_column(primary_key=True)
    began_at: Mapped[datetime]


class TotalRow(Base):
    """A running total for `GET /metrics`: one row per name and label values."""

    __tablename__ = "totals"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[list[str]] = mapped_column(primary_key=True)
    value: Mapped[float]
