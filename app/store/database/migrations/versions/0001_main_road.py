"""Benchmarks, events, workers, and Procrastinate's own schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Creates everything."""
    # Straight to the driver: the schema is many statements, with colons and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(SchemaManager.get_schema())
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("parameter_count", sa.BigInteger, nullable=False),
        sa.Column("labels", JSONB, nullable=False),
        sa.Column("model_kind", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("queue_entry_id", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.Text),
        sa.Column("worker_gpu", sa.Text),
        sa.Column("lease_expires_at", TIME),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("queued_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("progress", JSONB),
        sa.Column("summary", JSONB),
        sa.Column("failure", JSONB),
        sa.Column("warnings", ARRAY(sa.Text), nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("report_gzip", sa.LargeBinary),
        sa.Column("logs", sa.Text, nullable=False),
    )
    queued = sa.text("status = 'queued'")
    leased = sa.text("lease_expires_at IS NOT NULL")
    op.create_index("benchmarks_queued", "benchmarks", ["queue", "priority", "id"], postgresql_where=queued)
    op.create_index("benchmarks_leased", "benchmarks", ["lease_expires_at"], postgresql_where=leased)
    op.create_index("benchmarks_labels", "benchmarks", ["labels"], postgresql_using="gin")
    op.create_index("benchmarks_status", "benchmarks", ["status", "id"])
    op.create_table(
        "events",
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("session", sa.Uuid, nullable=False),
        sa.Column("device_name", sa.Text, nullable=False),
        sa.Column("device_kind", sa.Text, nullable=False),
        sa.Column("gpu", sa.Text),
        sa.Column("memory_bytes", sa.BigInteger),
        sa.Column("queues", ARRAY(sa.Text), nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("current_benchmark", sa.Uuid),
        sa.Column("started_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("last_heartbeat", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("halftime_version", sa.Text, nullable=False),
    )
