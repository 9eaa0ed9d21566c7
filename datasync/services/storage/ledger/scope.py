"""Rows and marks of keys outside the part of the bucket that is mirrored: they are forgotten."""

from collections import Counter

from sqlalchemy import Connection, Table, bindparam, select

from datasync.services.storage.ledger.database import Database, Many, fetch
from datasync.services.storage.ledger.figures import add_figures, held_figures
from datasync.services.storage.ledger.tables import dirty, encode, objects, successor

PIECE = 2_000  # keys of one transaction, so that nobody waits long for it


class OutsideScope:
    """Forgets what is of no concern any more."""

    _database: Database

    def forget_outside(self, prefix: str, limit: int = PIECE) -> int:
        """Forget rows and marks of keys that do not begin with `prefix`, at most `limit` of each.

        Returns how many; 0 when there are none left, which costs no write. The files of such
        rows are nobody's from then on. What was done to the keys stays in the history.

        Raises: LedgerError, LedgerBusy, KeyRejected when the prefix is not UTF-8.
        """
        start = encode(prefix)
        with self._database.read() as connection:
            rows = _outside(connection, objects, start, limit)
            marks = _outside(connection, dirty, start, limit)
        if rows or marks:
            with self._database.write(turn="settle") as connection:
                self._forget(connection, rows, marks)
        return len(rows) + len(marks)

    def _forget(self, connection: Connection, rows: list[bytes], marks: list[bytes]) -> None:
        change: Counter[str] = Counter()
        change.subtract(held_figures(connection, self._database, rows))
        for table, keys in ((objects, rows), (dirty, marks)):
            drop = table.delete().where(table.c.key == bindparam("old"))
            Many(drop, ("old",)).run(connection, [(key,) for key in keys])
        add_figures(connection, self._database, change)


def _outside(connection: Connection, table: Table, start: bytes, limit: int) -> list[bytes]:
    """At most `limit` keys before or behind those that begin with `start`, in order."""
    key, end = table.c.key, successor(start)
    ranges = [key < start] if end is None else [key < start, key >= end]
    found: list[bytes] = []
    for condition in ranges:
        statement = select(key).where(condition).order_by(key).limit(limit - len(found))
        found += [bytes(stored) for (stored,) in fetch(connection, statement)]
    return found
