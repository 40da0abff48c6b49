"""Deliveries of webhooks.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("benchmark_id", sa.Uuid, sa.ForeignKey("benchmarks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("last_attempt_at", TIME),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Column("queue_entry_id", sa.BigInteger),
        sa.Column("next_attempt_at", TIME),
    )
    op.create_index("webhook_deliveries_benchmark", "webhook_deliveries", ["benchmark_id", "id"])
    pending = sa.text("state = 'pending'")
    op.create_index("webhook_deliveries_due", "webhook_deliveries", ["next_attempt_at"], postgresql_where=pending)
