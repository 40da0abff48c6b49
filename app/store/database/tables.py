"""The tables. Procrastinate keeps its own beside them, in the same database."""

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

#: Procrastinate's, as far as they are read here.
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


#: Statuses of few rows among many, written into the statement: a plan for any status, which PostgreSQL falls back to
#: for a statement that comes often, may not use an index of these alone, and takes them for many.
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
    """A benchmark with all that is known of it. Every UPDATE through the ORM raises `version`."""

    __tablename__ = "benchmarks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column()
    status: Mapped[str]
    request: Mapped[Json]
    parameter_count: Mapped[int | None] = mapped_column(BigInteger)
    #: The sweep that made it, where one did.
    sweep_id: Mapped[UUID | None] = mapped_column(ForeignKey("sweeps.id", ondelete="SET NULL"))
    #: The key that submitted it; null where none was asked for.
    api_key_id: Mapped[UUID | None] = mapped_column(ForeignKey("api_keys.id"))
    labels: Mapped[dict[str, str]]
    model_kind: Mapped[str]
    #: What people know the model by; null stands for its kind.
    model_name: Mapped[str | None]
    device: Mapped[str]
    priority: Mapped[int]
    queue: Mapped[str]
    #: The queue entry of the present attempt: the token that every write of a worker is checked against.
    queue_entry_id: Mapped[int | None] = mapped_column(BigInteger)
    #: A worker had taken it before: it goes before those of its priority that none has.
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
    #: Retention has taken the raw samples out of the report, and the logs.
    samples_dropped: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: The report's JSON, gzipped: raw samples grow long and compress well.
    report_gzip: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    #: Of the request that submitted it, where requests are traced.
    traceparent: Mapped[str | None]
    #: What the trials wrote to standard error; the newest part.
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
    """A sweep; its benchmarks point at it."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    request: Mapped[Json]


class IdempotencyKeyRow(Base):
    """A key that a submit was sent with, and the benchmark or the sweep it made."""

    __tablename__ = "idempotency_keys"

    #: Whose key it is; empty where nobody has a name.
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
    """A key to the API. Rows stay: a benchmark says which key submitted it."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    #: The key itself is kept nowhere.
    sha256: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    scopes: Mapped[list[str]]
    submits_per_hour: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class KeySubmitsRow(Base):
    """Benchmarks that a key with a quota submitted at once; outlives them. Rows go when no quota counts them."""

    __tablename__ = "key_submits"

    api_key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    submitted_at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.now())
    benchmarks: Mapped[int]


class CompletedBlockRow(Base):
    """A block that an attempt completed, while the benchmark has not ended."""

    __tablename__ = "completed_blocks"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    #: From 0.
    index: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    worker_id: Mapped[str]
    #: Device, versions and request, to be compared with those of the attempt that follows.
    measured_with: Mapped[Json]
    #: The block's JSON, gzipped: it holds the raw samples.
    block_gzip: Mapped[bytes] = mapped_column(LargeBinary)


class EventRow(Base):
    """Something that happened to a benchmark; `seq` runs from 1 without a gap."""

    __tablename__ = "events"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[Json]


class WorkerRow(Base):
    """A worker, live while its heartbeat is fresh. Its row stays for days: what was here matters to what is missing."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Of the process that owns the row now; a successor with the same id takes it over.
    session: Mapped[UUID]
    device_name: Mapped[str]
    device_kind: Mapped[str]
    gpu: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    #: What its device can do in each precision, as it measured when it started.
    precisions: Mapped[list[Json] | None]
    queues: Mapped[list[str]]
    online: Mapped[bool]
    #: Told to take no more. Outlives the process: who drains a node may restart it.
    draining: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: What is wrong with its device; null for nothing.
    quarantine_reason: Mapped[str | None]
    quarantined_since: Mapped[datetime | None]
    current_benchmark: Mapped[UUID | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_heartbeat: Mapped[datetime] = mapped_column(server_default=func.now())
    halftime_version: Mapped[str]


class WebhookDeliveryRow(Base):
    """A message about one event of a benchmark. Its id is the message's id in every attempt."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"))
    event: Mapped[str]
    state: Mapped[str] = mapped_column(default="pending")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    #: Since it was made or last replayed.
    attempts: Mapped[int] = mapped_column(default=0)
    last_attempt_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    #: The queue entry of the next attempt, or of the one under way: the token that its outcome is checked against.
    queue_entry_id: Mapped[int | None] = mapped_column(BigInteger)
    #: While an attempt is under way, when it is taken for lost.
    next_attempt_at: Mapped[datetime | None]

    __table_args__ = (
        Index("webhook_deliveries_benchmark", "benchmark_id", "id"),
        Index("webhook_deliveries_due", "next_attempt_at", postgresql_where="state = 'pending'"),
    )


class PurgedRow(Base):
    """What is left of a benchmark or a sweep that retention took."""

    __tablename__ = "purged"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purged_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReaperTurnRow(Base):
    """When the last round of the reaper began, in whichever process: one row."""

    __tablename__ = "reaper_turns"

    id: Mapped[int] = mapped_column(primary_key=True)
    began_at: Mapped[datetime]


class TotalRow(Base):
    """What `GET /metrics` counts: one row for each name and its labels' values."""

    __tablename__ = "totals"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[list[str]] = mapped_column(primary_key=True)
    value: Mapped[float]
