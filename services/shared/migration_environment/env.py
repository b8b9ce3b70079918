"""Alembic's environment: one for all services, run by Alembic within the transaction of the connection it is given."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
