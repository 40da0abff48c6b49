"""The schema of the first release, Procrastinate's own included.

Revision ID: 0001_initial
Revises:
"""

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001_initial"
down_revision = None

TIME = sa.DateTime(timezone=True)

#: The channel is named in `app.store.notifications` too.
TELL = """
CREATE FUNCTION halftime_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('halftime_benchmarks', OLD.id::text);
    RETURN NULL;
END
$$
"""

#: A lease that is renewed without anything to show leaves the version as it is.
ON_UPDATE = """
CREATE TRIGGER benchmarks_updated AFTER UPDATE ON benchmarks
FOR EACH ROW WHEN (OLD.version <> NEW.version) EXECUTE FUNCTION halftime_tell()
"""

ON_DELETE = """
CREATE TRIGGER benchmarks_deleted AFTER DELETE ON benchmarks
FOR EACH ROW EXECUTE FUNCTION halftime_tell()
"""

#: A GPU's worker serves some four hundred queues. A plan for any list of queues compares each waiting job with one name
#: after the other, so that thousands of jobs for other workers would cost every worker tens of milliseconds a second; a
#: plan for a known list looks names up.
PLAN_FOR_KNOWN_QUEUES = """
ALTER FUNCTION procrastinate_fetch_job_v2(character varying[], bigint) SET plan_cache_mode = force_custom_plan
"""


def upgrade() -> None:
    """Creates everything; first what others refer to."""
    _procrastinate()
    _api_keys()
    _key_submits()
    _sweeps()
    _benchmarks()
    _indexes_of_benchmarks()
    _events()
    _completed_blocks()
    _webhook_deliveries()
    _idempotency_keys()
    _workers()
    _reaper_turns()
    _purged()
    _totals()


def _procrastinate() -> None:
    # Straight to the driver: the schema is many statements, with colons and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(SchemaManager.get_schema())
    op.execute(PLAN_FOR_KNOWN_QUEUES)


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("submits_per_hour", sa.Integer),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
    )


def _key_submits() -> None:
    op.create_table(
        "key_submits",
        sa.Column("api_key_id", sa.Uuid, sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("submitted_at", TIME, primary_key=True, server_default=sa.func.now()),
        sa.Column("benchmarks", sa.Integer, nullable=False),
    )


def _sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("request", JSONB, nullable=False),
    )


def _benchmarks() -> None:
    op.create_table(
        "benchmarks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("parameter_count", sa.BigInteger),
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
        sa.Column("sweep_id", sa.Uuid, sa.ForeignKey("sweeps.id", ondelete="SET NULL")),
        sa.Column("api_key_id", sa.Uuid, sa.ForeignKey("api_keys.id")),
        sa.Column("samples_dropped", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("traceparent", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("came_back", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    for statement in (TELL, ON_UPDATE, ON_DELETE):
        op.execute(statement)


def _indexes_of_benchmarks() -> None:
    op.create_index("benchmarks_labels", "benchmarks", ["labels"], postgresql_using="gin")
    op.create_index("benchmarks_status", "benchmarks", ["status", "id"])
    op.create_index("benchmarks_model_kind", "benchmarks", ["model_kind", "id"])
    op.create_index("benchmarks_device", "benchmarks", ["device", "id"])
    for name, columns, condition in (
        ("benchmarks_queued", ["queue", "priority", "id"], "status = 'queued'"),
        ("benchmarks_leased", ["lease_expires_at"], "lease_expires_at IS NOT NULL"),
        ("benchmarks_sweep", ["sweep_id", "id"], "sweep_id IS NOT NULL"),
        ("benchmarks_finished", ["finished_at"], "finished_at IS NOT NULL"),
        ("benchmarks_with_samples", ["finished_at"], "NOT samples_dropped"),
    ):
        op.create_index(name, "benchmarks", columns, postgresql_where=sa.text(condition))


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("data", JSONB, nullable=False),
    )


def _completed_blocks() -> None:
    op.create_table(
        "completed_blocks",
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("measured_with", JSONB, nullable=False),
        sa.Column("block_gzip", sa.LargeBinary, nullable=False),
    )


def _webhook_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_attempt_at", TIME),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Column("queue_entry_id", sa.BigInteger),
        sa.Column("next_attempt_at", TIME),
    )
    op.create_index("webhook_deliveries_benchmark", "webhook_deliveries", ["benchmark_id", "id"])
    pending = sa.text("state = 'pending'")
    op.create_index("webhook_deliveries_due", "webhook_deliveries", ["next_attempt_at"], postgresql_where=pending)


def _idempotency_keys() -> None:
    # Deferred: the key is taken first, so that of many equal submits only one goes on to make a benchmark or a sweep.
    benchmark = sa.ForeignKey("benchmarks.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    sweep = sa.ForeignKey("sweeps.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("benchmark_id", sa.Uuid, benchmark),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("sweep_id", sa.Uuid, sweep),
        sa.CheckConstraint("num_nonnulls(benchmark_id, sweep_id) = 1", name="idempotency_keys_one"),
    )
    op.create_index("idempotency_keys_benchmark", "idempotency_keys", ["benchmark_id"])
    of_a_sweep = sa.text("sweep_id IS NOT NULL")
    op.create_index("idempotency_keys_sweep", "idempotency_keys", ["sweep_id"], postgresql_where=of_a_sweep)


def _workers() -> None:
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
        sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("quarantine_reason", sa.Text),
        sa.Column("quarantined_since", TIME),
        sa.Column("precisions", JSONB),
    )


def _reaper_turns() -> None:
    op.create_table(
        "reaper_turns",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("began_at", TIME, nullable=False),
    )
    # The only row that there ever is.
    op.execute("INSERT INTO reaper_turns VALUES (1, '-infinity')")


def _purged() -> None:
    op.create_table(
        "purged",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("purged_at", TIME, nullable=False, server_default=sa.func.now()),
    )


def _totals() -> None:
    op.create_table(
        "totals",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("labels", ARRAY(sa.Text), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
