"""What a worker's device can do at most, measured when it starts.

Revision ID: 0002_worker_ceilings
Revises: 0002_traces
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002_worker_ceilings"
down_revision = "0002_traces"


def upgrade() -> None:
    """Adds a column that is null for workers of earlier releases."""
    op.add_column("workers", sa.Column("ceilings", JSONB))
