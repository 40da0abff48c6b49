"""The trace that a benchmark was submitted in.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("benchmarks", sa.Column("traceparent", sa.Text))
