"""API keys, and which of them submitted a benchmark.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the table, the benchmarks' reference to it, and the index that quotas are counted with."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("scopes", ARRAY(sa.Text), nullable=False),
        sa.Column("submits_per_hour", sa.Integer),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.now()),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
    )
    op.add_column("benchmarks", sa.Column("api_key_id", sa.Uuid, sa.ForeignKey("api_keys.id")))
    by_a_key = sa.text("api_key_id IS NOT NULL")
    op.create_index("benchmarks_api_key", "benchmarks", ["api_key_id", "created_at"], postgresql_where=by_a_key)
