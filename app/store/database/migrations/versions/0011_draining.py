"""Workers that finish what they run and take no more.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Adds the column."""
    op.add_column("workers", sa.Column("draining", sa.Boolean, nullable=False, server_default=sa.false()))
