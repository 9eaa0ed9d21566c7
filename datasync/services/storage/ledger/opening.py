"""Opens a ledger: finds its kind by URL, applies migrations, sets a damaged file aside.

Several processes may start at once; they take turns. Knows no table's meaning.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, Connection, inspect, make_url
from sqlalchemy.exc import ArgumentError

from datasync.errors import DiskFull, LedgerBusy, LedgerError
from datasync.services.storage.ledger.backends import Backend
from datasync.services.storage.ledger.claim import owner_of
from datasync.services.storage.ledger.database import Database
from datasync.services.storage.ledger.migrating import (
    LATEST,
    VERSION_TABLE,
    known_versions,
    migrated,
    version_of,
)
from datasync.services.storage.ledger.sqlite_backend import NO_LINK, SqliteBackend
from datasync.utils.file_utils import DiskCalls, sync_folder_at

OPEN_SECONDS = 60.0  # another process may be migrating a large ledger


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file: `%`, `?` and `#` in its path are quoted."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def open_database(url: str, busy_seconds: float) -> tuple[Database, bool]:
    """The database of a URL with its tables up to date, and whether a damaged one was replaced.

    Raises: LedgerError, LedgerBusy, DiskFull.
    """
    backend = _backend(url, busy_seconds)
    try:
        if isinstance(backend, SqliteBackend):
            return _open_sqlite(backend)
        return migrated(Database(backend)), False
    except OSError as error:
        raise LedgerError(f"the ledger cannot be opened: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class LedgerVersion:
    """The version a ledger is of, None when there is none yet, and those this program knows.

    `owner`: the id of the directory that a ledger of the latest version belongs to, and where that
    is, if the ledger lies elsewhere.
    """

    found: str | None
    latest: str
    known: frozenset[str]
    owner: tuple[str, str] | None


def inspect_database(url: str, busy_seconds: float) -> LedgerVersion:
    """The version of the ledger at a URL. Makes, migrates and repairs nothing.

    Raises: LedgerError, LedgerBusy.
    """
    found, owner = _found(_backend(url, busy_seconds))
    return LedgerVersion(found, LATEST, known_versions(), owner)


def _found(backend: Backend) -> tuple[str | None, tuple[str, str] | None]:
    if isinstance(backend, SqliteBackend):
        backend.refuse_links()
        if not backend.path.exists():
            return None, None
    database = Database(backend)
    try:
        with database.read() as connection:
            version = version_of(connection)
            return version, owner_of(connection) if version == LATEST else None
    finally:
        database.close()


def _backend(url: str, busy_seconds: float) -> Backend:
    parsed = _parse(url)
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        from datasync.services.storage.ledger.postgres_backend import PostgresBackend

        return PostgresBackend(parsed, busy_seconds)
    return SqliteBackend(_file_of(parsed), busy_seconds)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername not in (
        "sqlite",
        "sqlite+pysqlite",
        "postgres",
        "postgresql",
        "postgresql+psycopg",
    ):
        # The URL itself may hold a password: it is not repeated, not even as a cause.
        raise LedgerError(
            "DATABASE_URL is not the URL of a SQLite file or a PostgreSQL database",
            hint="For example postgresql://user:password@host:5432/datasync",
        )
    return parsed


def _file_of(url: URL) -> Path:
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise LedgerError(
            "the ledger must be a file: several threads and processes share it",
            hint="For example sqlite:////var/lib/datasync/ledger.db",
        )
    return Path(url.database).absolute()


def _open_sqlite(backend: SqliteBackend) -> tuple[Database, bool]:
    backend.refuse_links()
    _make_folder(backend.path.parent)
    with _alone(backend.path):
        if backend.damage_mark.exists():
            return _rebuilt(backend), True
        try:
            return _start(backend), False
        except LedgerError as error:
            if not backend.damaged(error.__cause__):
                raise
            return _rebuilt(backend), True


def _make_folder(folder: Path) -> None:
    try:
        if not folder.is_dir():
            folder.mkdir()  # not its parents: a mirror that is not mounted must not be made up
            # SQLite makes its files durable in their folder, not their folder.
            sync_folder_at(folder.parent, DiskCalls())
    except OSError as error:
        raise LedgerError(
            f"the folder {folder.name} of the ledger cannot be made: {error.strerror}",
            hint="Mount or create LOCAL_DOWNLOAD_DIR and make it writable for this user.",
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock under which one process at a time opens the ledger at `path`."""
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | NO_LINK, 0o644)
    except OSError as error:
        raise LedgerError(
            f"{path.name}.lock cannot be opened: {error.strerror}",
            hint="Make the ledger's folder writable for this user.",
        ) from error
    try:
        _wait_for(lock)
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
    deadline = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LedgerBusy("another process is opening the ledger") from None
            time.sleep(0.02)


def _start(backend: SqliteBackend) -> Database:
    database = Database(backend)
    try:
        with database.read() as connection:
            _refuse_foreign(connection, backend.path.name)
        with database.read() as connection:
            backend.use_wal(connection)
        migrated(database)
        _require_writing(database)
        backend.remember()
    except BaseException:
        database.close()
        raise
    return database


def _require_writing(database: Database) -> None:
    """Raises: LedgerError where it may only be read. A full disk is no reason not to start."""
    with suppress(DiskFull), database.write() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 1")


def _refuse_foreign(connection: Connection, name: str) -> None:
    """Raises: LedgerError for a database that somebody else made: nothing is added to it."""
    tables = inspect(connection).get_table_names()
    if tables and VERSION_TABLE not in tables:
        raise LedgerError(
            f"{name} is no ledger but the database of another program",
            hint="Name a file of its own in DATABASE_URL, or move this one away.",
        )


def _rebuilt(backend: SqliteBackend) -> Database:
    _set_aside(backend.path)
    backend.damage_mark.unlink(missing_ok=True)
    return _start(backend)


def _set_aside(path: Path) -> None:
    """Rename the damaged file and its log: kept for the curious, never read again."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):
        source = Path(f"{path}{suffix}")
        if source.exists():
            source.rename(f"{aside}{suffix}")
