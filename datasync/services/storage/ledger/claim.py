"""Whose ledger this is: one that lies elsewhere than in the mirror serves one directory only."""

from sqlalchemy import Connection, select

from datasync.errors import ConfigurationError, LedgerError
from datasync.services.storage.ledger.database import Database, fetch
from datasync.services.storage.ledger.tables import mirror

_ONLY = 1


def owner_of(connection: Connection) -> tuple[str, str] | None:
    """The id of the directory that claimed the ledger, and where it was then."""
    found = fetch(connection, select(mirror.c.mirror_id, mirror.c.folder))
    return (found[0][0], found[0][1]) if found else None


class Claim:
    """The directory that the ledger belongs to, by the id in its marker."""

    _database: Database
    _mirror_id: str | None = None

    def claim(self, mirror_id: str, folder: str, *, over: bool = False) -> None:
        """Make it the ledger of this directory, if it is nobody's yet; `folder` is for messages.

        With `over` it is taken from another directory, whose service stops working with it.

        Raises: ConfigurationError (it is another one's), LedgerError, LedgerBusy.
        """
        with self._database.write(durable=True, turn="claim") as connection:
            found = owner_of(connection)
            known, place = found or (mirror_id, folder)
            if known != mirror_id and not over:
                raise ConfigurationError(
                    f"DATABASE_URL is the ledger of another directory, {place}",
                    hint="Give each directory a database of its own; or, when that one is given "
                    "up, start once with --adopt to use its ledger for this one.",
                )
            values = {"mirror_id": mirror_id, "folder": folder}
            if found is None:
                connection.execute(mirror.insert().values(only=_ONLY, **values))
            elif (known, place) != (mirror_id, folder):
                connection.execute(mirror.update().values(values))
        self._mirror_id = mirror_id

    def require_claim(self) -> None:
        """Prove that a ledger that was claimed is still ours.

        Raises: LedgerError, LedgerBusy.
        """
        if self._mirror_id is None:
            return
        with self._database.read() as connection:
            found = owner_of(connection)
        if found is not None and found[0] != self._mirror_id:
            raise LedgerError(
                f"the ledger was taken over by the service of {found[1]}",
                hint="Stop this service, or give it a DATABASE_URL of its own.",
            )
