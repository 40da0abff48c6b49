"""Alembic's entry: runs on the connection that `app.store.migrate` opened."""

from alembic import context

from app.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
