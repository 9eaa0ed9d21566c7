"""Whose ledger this is: one that lies elsewhere than in the mirror serves one directory only."""

from sqlalchemy import Connection, exists, select

from datasync.errors import ConfigurationError, LedgerTaken
from datasync.services.storage.ledger.database import Database, fetch
from datasync.services.storage.ledger.tables import metadata, mirror, objects, plain

_ONLY = 1
_OWNER = select(mirror.c.mirror_id, mirror.c.folder)
_HAS_ROWS = select(exists(select(objects.c.key)))


def owner_of(connection: Connection) -> tuple[str, str] | None:
    """The id of the directory that claimed the ledger, and where it was then."""
    found = fetch(connection, _OWNER)
    return (found[0][0], found[0][1]) if found else None


class Claim:
    """The directory that the ledger belongs to, by the id in its marker."""

    _database: Database
    _mirror_id: str | None = None

    def claim(self, mirror_id: str, folder: str, *, over: bool = False) -> None:
        """Make it the ledger of this directory, if it is nobody's yet, or knows of no object.

        It keeps the marks of accepted events then. With `over` it is taken from another directory
        in any case; the service of that one stops working with it. It begins empty then: what it
        says is not about the files of this one. `folder` is for messages.

        Raises: ConfigurationError (it is another one's), LedgerError, LedgerBusy, DiskFull.
        """
        folder = plain(folder) or ""
        # The turn of settlements: what another directory's service still writes comes before.
        with self._database.write(durable=True, turn="settle") as connection:
            owner = owner_of(connection)
            if owner is not None and owner[0] != mirror_id:
                if over:
                    _empty(connection)
                elif _has_rows(connection):
                    raise of_another(owner[1], folder)
            if owner is None:
                values = {"only": _ONLY, "mirror_id": mirror_id, "folder": folder}
                connection.execute(mirror.insert(), values)
            elif owner != (mirror_id, folder):
                values = {"mirror_id": mirror_id, "folder": folder}
                connection.execute(mirror.update(), values)
        self._mirror_id = mirror_id

    def refuse_others(self, folder: str) -> None:
        """Raises: ConfigurationError when the ledger belongs to another folder, LedgerError."""
        with self._database.read() as connection:
            owner = owner_of(connection)
        if owner is not None and owner[1] != plain(folder):
            raise of_another(owner[1], folder)

    def require_claim(self, connection: Connection | None = None) -> None:
        """Prove that a ledger that was claimed is still ours, within a transaction if one is given.

        Raises: LedgerTaken, LedgerError, LedgerBusy.
        """
        if self._mirror_id is None:
            return
        if connection is None:
            with self._database.read() as reading:
                owner = owner_of(reading)
        else:
            owner = owner_of(connection)
        if owner is not None and owner[0] != self._mirror_id:
            raise LedgerTaken("the ledger was taken over by the service of another directory")


def _has_rows(connection: Connection) -> bool:
    return bool(fetch(connection, _HAS_ROWS)[0][0])


def _empty(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        if table is not mirror:
            connection.execute(table.delete())


def of_another(owner: str, folder: str) -> ConfigurationError:
    """The error of a ledger that belongs to the directory at `owner`, and not to this one."""
    if owner == folder:
        return ConfigurationError(
            f"LOCAL_DOWNLOAD_DIR, {folder}, is not the directory that DATABASE_URL knows there",
            hint="Mount what belongs there; or start once with --adopt to fill it anew.",
        )
    return ConfigurationError(
        f"DATABASE_URL is the ledger of another directory, {owner}",
        hint="Give each directory a database of its own; or, when that one is given up, start once "
        "with --adopt to use its ledger for this one.",
    )
