"""Every change of a benchmark is told to those who listen; a key makes a submit safe to repeat.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

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


def upgrade() -> None:
    """Adds the triggers, and the table of keys."""
    for statement in (TELL, ON_UPDATE, ON_DELETE):
        op.execute(statement)
    # Deferred: the key is taken first, so that of many equal submits only one goes on to make a benchmark.
    benchmark = sa.ForeignKey("benchmarks.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_sha256", sa.LargeBinary, nullable=False),
        sa.Column("benchmark_id", sa.Uuid, benchmark, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("idempotency_keys_benchmark", "idempotency_keys", ["benchmark_id"])
