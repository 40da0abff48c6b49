"""A long queue and a long history cost nobody more.

What fetches a job is planned for the queues that it is asked for, and lists and retention get their indexes.

A GPU's worker serves some four hundred queues. A plan for any list of queues compares each waiting job with one name
after the other, so that thousands of jobs for other workers would cost every worker tens of milliseconds a second; a
plan for a known list looks names up.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Sets it on Procrastinate's function, and adds the indexes."""
    op.execute(
        "ALTER FUNCTION procrastinate_fetch_job_v2(character varying[], bigint) SET plan_cache_mode = force_custom_plan"
    )
    op.create_index(
        "benchmarks_with_samples", "benchmarks", ["finished_at"], postgresql_where=sa.text("NOT samples_dropped")
    )
    op.create_index("benchmarks_model_kind", "benchmarks", ["model_kind", "id"])
    op.create_index("benchmarks_device", "benchmarks", ["device", "id"])
