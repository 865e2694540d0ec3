"""Alembic environment: it runs within the transaction of `store.migrations.upgrade`."""

from alembic import context

from prosperstack_destination.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
