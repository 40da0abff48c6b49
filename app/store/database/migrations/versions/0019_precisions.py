"""What every worker's device can do in each precision.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Adds what a worker measured at its start; null for one of before."""
    op.add_column("workers", sa.Column("precisions", JSONB))
