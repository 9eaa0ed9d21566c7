"""The versions of the ledger's tables: which one a ledger has, and how it gets the latest.

Alembic does it. It is loaded only where there is something to do, for loading it takes longer than
opening a ledger.
"""

import threading
from pathlib import Path

from sqlalchemy import Connection, Select, column, inspect, select, table

from datasync.errors import LedgerError
from datasync.services.storage.ledger.database import Database, fetch

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LATEST = "0004"
VERSION_TABLE = "ledger_version"  # as `migrations/env.py` has it

_VERSION: Select[tuple[str]] = select(column("version_num")).select_from(table(VERSION_TABLE))
_alembic = threading.Lock()  # it keeps its context in module globals


def version_of(connection: Connection) -> str | None:
    """Of which version the tables are; None when there are none yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = fetch(connection, _VERSION)
    return str(found[0][0]) if found else None


def known_versions() -> frozenset[str]:
    """Every version that this program can bring up to date, and the latest."""
    from alembic.script import ScriptDirectory

    steps = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return frozenset(step.revision for step in steps)


def migrated(database: Database) -> Database:
    """The database with its tables up to date; it is closed when that fails.

    Raises: LedgerError (also when it is of a newer version), LedgerBusy, DiskFull.
    """
    try:
        with database.read() as connection:
            version = version_of(connection)
        if version != LATEST:
            _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _migrate(database: Database) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with _alembic, database.write(durable=True, turn="migrate") as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            f"the ledger is of another version of DataSync: {error}",
            hint="Start the newer version again, or move the ledger away to have it rebuilt.",
        ) from error
