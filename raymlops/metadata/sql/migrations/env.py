"""Run by Alembic: the connection and its transaction are the caller's."""

from alembic import context

from raymlops.metadata.sql.schema import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables)
with context.begin_transaction():
    context.run_migrations()
