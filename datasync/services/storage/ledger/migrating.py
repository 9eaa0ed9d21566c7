"""The versions of the ledger's tables: which one a ledger has, and how it gets the latest.

Alembic does it. It is loaded only where there are tables to change, for loading it takes longer
than opening a ledger; a new SQLite ledger is made as the steps would leave it.
"""

import threading
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    Select,
    String,
    Table,
    inspect,
    select,
)

from datasync.errors import LedgerError
from datasync.services.storage.ledger.database import Database, fetch
from datasync.services.storage.ledger.tables import metadata

MIGRATIONS = Path(__file__).parent.parent / "migrations"
LATEST = "0007"
VERSION_TABLE = "ledger_version"  # as `migrations/env.py` has it

# As Alembic makes it.
_versions = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
_VERSION: Select[tuple[str]] = select(_versions.c.version_num)
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
            is_sqlite = connection.dialect.name == "sqlite"
        if version is None and is_sqlite and _made(database):
            return database
        if version != LATEST:
            _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _made(database: Database) -> bool:
    """Make the latest tables in a SQLite file that has none; false if it has some.

    Not on PostgreSQL: there `metadata` lacks the conditions of the indexes.
    """
    with database.write(durable=True, turn="migrate") as connection:
        if inspect(connection).get_table_names():
            return False
        _versions.create(connection, checkfirst=False)
        connection.execute(_versions.insert().values(version_num=LATEST))
        metadata.create_all(connection, checkfirst=False)
    return True


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
