"""Alembic's entry: runs our migrations on the connection that `database.py` hands over."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="alembic_version",
    version_table_schema="hpsearch",
)
with context.begin_transaction():
    context.run_migrations()
