"""Sorts a listing that does not come in key order, on disk instead of in memory.

A scratch file of its own, removed from its folder as soon as it is open: nothing is left behind,
not even by a kill. It is no part of the ledger's tables.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from datasync.errors import DiskFull, LedgerError
from datasync.models.sync_models import ListedObject
from datasync.services.storage.ledger.tables import encode

PAGE = 1000
_TABLE = """
    CREATE TABLE listed (
        key BLOB PRIMARY KEY, size INTEGER, etag TEXT, last_modified INTEGER,
        storage_class TEXT, restored INTEGER, problem TEXT
    ) WITHOUT ROWID
"""


class ListingSpool:
    """Takes objects in any order and gives them back in key order, each key once.

    Of a key that was listed twice, the later entry counts. Use it as a context.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> "ListingSpool":
        self._connection = _scratch(self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, objects: Sequence[ListedObject]) -> None:
        """Take in some of the listing. Raises: LedgerError, DiskFull."""
        values = [
            (
                encode(listed.key),
                listed.size,
                listed.etag,
                listed.last_modified,
                listed.storage_class,
                listed.restored,
                listed.problem,
            )
            for listed in objects
        ]
        try:
            self._open().executemany("INSERT OR REPLACE INTO listed VALUES (?,?,?,?,?,?,?)", values)
        except sqlite3.Error as error:
            raise _translated(error) from error

    def clear(self) -> None:
        """Forget what was taken in so far. Raises: LedgerError."""
        try:
            self._open().execute("DELETE FROM listed").close()
        except sqlite3.Error as error:
            raise _translated(error) from error

    def pages(self) -> Iterator[tuple[ListedObject, ...]]:
        """Everything taken in, in byte order of the keys. Raises: LedgerError, DiskFull."""
        try:
            cursor = self._open().execute("SELECT * FROM listed ORDER BY key")
            while found := cursor.fetchmany(PAGE):
                yield tuple(
                    ListedObject(key.decode(), size, etag, modified, kind, bool(restored), problem)
                    for key, size, etag, modified, kind, restored, problem in found
                )
        except sqlite3.Error as error:
            raise _translated(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LedgerError("the listing spool is not open")
        return self._connection


def _scratch(folder: Path | None) -> sqlite3.Connection:
    try:
        handle, name = tempfile.mkstemp(prefix="listing-", suffix=".spool", dir=folder)
    except OSError as error:
        raise LedgerError(f"no scratch file for the listing: {error.strerror}") from error
    os.close(handle)
    try:
        # Closed over no thread: the listing may be read by another one than sorts it.
        connection = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection
    except sqlite3.Error as error:
        raise _translated(error) from error
    finally:
        os.unlink(name)


def _prepare(connection: sqlite3.Connection) -> None:
    pragmas = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-32768", "locking_mode=EXCLUSIVE")
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").close()
    connection.execute(_TABLE)
    connection.execute("BEGIN")


def _translated(error: sqlite3.Error) -> LedgerError | DiskFull:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return DiskFull("the disk of the ledger is full: the listing cannot be sorted")
    return LedgerError(f"the listing cannot be sorted: {error}")
