"""The tables. Procrastinate keeps its own beside them, in the same database."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Base(DeclarativeBase):
    """Maps Python types to PostgreSQL's."""

    type_annotation_map = {  # noqa: RUF012 # SQLAlchemy reads it as a class attribute
        Json: JSONB,
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
    labels: Mapped[dict[str, str]]
    model_kind: Mapped[str]
    device: Mapped[str]
    priority: Mapped[int]
    queue: Mapped[str]
    #: The queue entry of the present attempt: the token that every write of a worker is checked against.
    queue_entry_id: Mapped[int | None] = mapped_column(BigInteger)
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
    )


class SweepRow(Base):
    """A sweep; its benchmarks point at it."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    request: Mapped[Json]


class EventRow(Base):
    """Something that happened to a benchmark; `seq` runs from 1 without a gap."""

    __tablename__ = "events"

    benchmark_id: Mapped[UUID] = mapped_column(ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[Json]


class WorkerRow(Base):
    """A worker, live while its heartbeat is fresh. Rows stay: what was once here matters to what is missing."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    #: Of the process that owns the row now; a successor with the same id takes it over.
    session: Mapped[UUID]
    device_name: Mapped[str]
    device_kind: Mapped[str]
    gpu: Mapped[str | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    queues: Mapped[list[str]]
    online: Mapped[bool]
    current_benchmark: Mapped[UUID | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_heartbeat: Mapped[datetime] = mapped_column(server_default=func.now())
    halftime_version: Mapped[str]


class TotalRow(Base):
    """What `GET /metrics` counts: one row for each name and its labels' values."""

    __tablename__ = "totals"

    name: Mapped[str] = mapped_column(primary_key=True)
    labels: Mapped[list[str]] = mapped_column(primary_key=True)
    value: Mapped[float]
