"""The number of parameters may be unknown until a worker has counted them.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Allows null."""
    op.alter_column("benchmarks", "parameter_count", nullable=True)
