"""A key makes the submit of a sweep safe to repeat too.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Lets a key stand for a sweep instead of a benchmark."""
    op.alter_column("idempotency_keys", "benchmark_id", nullable=True)
    sweep = sa.ForeignKey("sweeps.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED")
    op.add_column("idempotency_keys", sa.Column("sweep_id", sa.Uuid, sweep))
    op.create_check_constraint("idempotency_keys_one", "idempotency_keys", "num_nonnulls(benchmark_id, sweep_id) = 1")
    of_a_sweep = sa.text("sweep_id IS NOT NULL")
    op.create_index("idempotency_keys_sweep", "idempotency_keys", ["sweep_id"], postgresql_where=of_a_sweep)
