"""Traces of the legs' profiled steps.

Revision ID: 0002_traces
Revises: 0001_initial
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_traces"
down_revision = "0001_initial"


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "traces",
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("leg", sa.Text, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
