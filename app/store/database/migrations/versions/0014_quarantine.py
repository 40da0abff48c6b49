"""Workers whose device is sick.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Adds what is wrong with a worker's device, and since when; both null for a healthy one."""
    op.add_column("workers", sa.Column("quarantine_reason", sa.Text))
    op.add_column("workers", sa.Column("quarantined_since", sa.DateTime(timezone=True)))
