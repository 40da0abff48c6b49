"""Alembic's entry: runs on the connection that `app.store.database.migrate` opened."""

from alembic import context

from app.store.database.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
