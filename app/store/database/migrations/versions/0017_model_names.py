"""Lists name the model: a preset tells more than its kind, and a list does not read requests.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Adds the name; null for benchmarks of before, and for those that a server of before still takes."""
    op.add_column("benchmarks", sa.Column("model_name", sa.Text))
