"""What retention took, and from which benchmarks it took the raw samples.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds the table of what is gone, a mark, and an index to find what is old by."""
    op.create_table(
        "purged",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("purged_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.add_column("benchmarks", sa.Column("samples_dropped", sa.Boolean, nullable=False, server_default=sa.false()))
    finished = sa.text("finished_at IS NOT NULL")
    op.create_index("benchmarks_finished", "benchmarks", ["finished_at"], postgresql_where=finished)
