"""Running totals, counted from here on.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "totals",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("labels", ARRAY(sa.Text), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
