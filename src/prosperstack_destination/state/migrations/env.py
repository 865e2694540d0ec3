"""Alembic's entry: it runs within the transaction that `state.migrating.upgrade` was given."""

from alembic import context

from prosperstack_destination.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
