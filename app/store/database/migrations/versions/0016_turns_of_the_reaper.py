"""One round of the reaper at a time, however many processes could run it.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Adds when the last round began, in the only row there is."""
    op.create_table(
        "reaper_turns",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("INSERT INTO reaper_turns VALUES (1, '-infinity')")
