"""Sweeps, and the benchmarks that each made.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the table, and the benchmarks' reference to it."""
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("request", JSONB, nullable=False),
    )
    op.add_column("benchmarks", sa.Column("sweep_id", sa.Uuid, sa.ForeignKey("sweeps.id", ondelete="SET NULL")))
    of_a_sweep = sa.text("sweep_id IS NOT NULL")
    op.create_index("benchmarks_sweep", "benchmarks", ["sweep_id", "id"], postgresql_where=of_a_sweep)
