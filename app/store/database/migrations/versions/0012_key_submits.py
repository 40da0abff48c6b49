"""What a key submitted lately, counted apart from benchmarks, which may be deleted.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Adds the table, with what keys submitted within the last hour, and drops the index that it takes the place of."""
    op.create_table(
        "key_submits",
        sa.Column("api_key_id", sa.Uuid, sa.ForeignKey("api_keys.id"), primary_key=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), primary_key=True, server_default=sa.func.now()),
        sa.Column("benchmarks", sa.Integer, nullable=False),
    )
    op.execute("""
        INSERT INTO key_submits (api_key_id, submitted_at, benchmarks)
        SELECT api_key_id, created_at, count(*) FROM benchmarks
        WHERE api_key_id IS NOT NULL AND created_at > now() - interval '1 hour'
        GROUP BY api_key_id, created_at
    """)
    op.drop_index("benchmarks_api_key", "benchmarks")
