"""The history of the ledger's tables, applied at start by Alembic."""
