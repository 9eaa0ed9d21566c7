"""Alembic's entry: applies the steps on the connection, and in the transaction, it is given.

Only `datasync.services.storage.ledger.migrating` runs it; there is no alembic.ini.
"""

from alembic import context

from datasync.services.storage.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="ledger_version",
)
with context.begin_transaction():
    context.run_migrations()
