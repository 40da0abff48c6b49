"""Completed blocks of running benchmarks, for the attempt that follows one that died.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Adds the table."""
    benchmark = sa.ForeignKey("benchmarks.id", ondelete="CASCADE")
    op.create_table(
        "completed_blocks",
        sa.Column("benchmark_id", sa.Uuid, benchmark, primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker_id", sa.Text, nullable=False),
        sa.Column("measured_with", JSONB, nullable=False),
        sa.Column("block_gzip", sa.LargeBinary, nullable=False),
    )
