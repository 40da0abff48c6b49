"""A benchmark that comes back into the queue goes before those of its priority that have not run yet.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Adds whether it came back, and makes room between the priorities of what waits.

    What a server of before enqueues after this keeps its half of a priority: its order may be off, nothing else is.
    """
    op.add_column("benchmarks", sa.Column("came_back", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE procrastinate_jobs SET priority = 2 * priority "
        "WHERE status = 'todo' AND task_name = 'run_benchmark' AND priority <> 0"
    )
