"""The ledger in a SQLite file: transactions, its log, damage, errors."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, exc
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import QueuePool

from datasync.errors import (
    DataSyncError,
    DiskFull,
    LedgerBusy,
    LedgerError,
    TooManyOpenFiles,
)
from datasync.services.storage.ledger.backends import Insert, first_line
from datasync.services.storage.paths import INTERNAL

RESTART_HINT = (
    "Restart DataSync: it sets the damaged ledger aside "
    "and builds a new one from the files on disk."
)
NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
LOG_BYTES = 64 * 2**20  # how long the log of a SQLite ledger may become
LOG_PATIENCE_SECONDS = 0.25


class SqliteBackend:
    """A SQLite file in WAL mode: readers and the one writer do not block one another."""

    driver_errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.path = path
        # Who can write into the mirror can plant links there; elsewhere they are the operator's.
        self._in_mirror = path.parent.name == INTERNAL
        self._busy_seconds = busy_seconds
        self._identity: tuple[int, int] | None = None
        self._log_limit = LOG_BYTES
        # SQLite waits by polling; threads of one process queue here instead, which is fair.
        self._writer = threading.Lock()

    @property
    def damage_mark(self) -> Path:
        """A file that tells the next start that this ledger was found damaged."""
        return self.path.with_name(self.path.name + ".damaged")

    def refuse_links(self) -> None:
        """Raises: LedgerError for a link in the mirror where the ledger or its folder belongs.

        SQLite and we would follow it, and write outside of the mirror.
        """
        names = [f"{self.path}{suffix}" for suffix in ("", "-wal", "-shm", "-journal", ".lock")]
        names += [str(self.damage_mark), str(self.path.parent)]
        planted = [os.path.basename(name) for name in names if os.path.islink(name)]
        if planted and self._in_mirror:
            raise LedgerError(
                f"{planted[0]!r} of the ledger is a link: files of the mirror's own never are",
                hint="Find out who made it, remove it and start again.",
            )

    def engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),
            connect_args={"timeout": self._busy_seconds},
            pool_size=8,
            max_overflow=56,
            pool_use_lifo=True,  # every connection in use fills a cache of its own
            pool_timeout=self._busy_seconds,
            hide_parameters=True,
        )
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", self._begin)
        return engine

    def relax(self, engine: Engine) -> None:
        """Close idle connections, and with them their pages and statements.

        One that is in use stays the pool's: `dispose` would leave it to the garbage collector.
        """
        pool = engine.pool
        assert isinstance(pool, QueuePool)
        with ExitStack() as taken:
            for _ in range(pool.checkedin()):  # all at once: the last one back is the next one out
                idle = engine.raw_connection()
                taken.callback(idle.close)
                taken.callback(idle.invalidate)

    @staticmethod
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin when we say so
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-4096")
        connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")

    @staticmethod
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    def use_wal(self, connection: Connection) -> None:
        """Switch the file to WAL; it stays so.

        Raises: LedgerError where the file system cannot do it.
        """
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        mode = cursor.fetchone()
        cursor.close()
        if mode != ("wal",):
            raise LedgerError(
                f"the file system of {self.path.name} cannot share a ledger between processes",
                hint="Keep the ledger on a local disk, or set DATABASE_URL to a PostgreSQL.",
            )

    def remember(self) -> None:
        """From now on, `check` wants the file that is there at this moment."""
        self._identity = self._current_identity()

    def check(self) -> None:
        if self._identity is not None and self._current_identity() != self._identity:
            raise LedgerError(
                f"{self.path.name} was removed or replaced while it was in use",
                hint="Restart DataSync; the ledger is built anew from the files on disk.",
            )

    def _current_identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path, follow_symlinks=not self._in_mirror)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"{self.path.name} cannot be read: {error.strerror}") from error
        return status.st_dev, status.st_ino

    @contextmanager
    def writing(self) -> Iterator[None]:
        if not self._writer.acquire(timeout=self._busy_seconds):
            raise LedgerBusy("another thread is writing to the ledger")
        try:
            yield
        finally:
            self._writer.release()

    def begin_write(self, connection: Connection, durable: bool, turn: str | None) -> None:
        # WAL with NORMAL may lose the latest commits in a power cut, never the file; FULL loses
        # nothing. The one writer of SQLite is alone already: no turn is needed.
        level = "FULL" if durable else "NORMAL"
        cursor = connection.connection.cursor()
        cursor.execute(f"PRAGMA synchronous={level}")
        cursor.close()
        connection.execution_options(begin="BEGIN IMMEDIATE").begin()

    def written(self, connection: Connection) -> None:
        """Empty the log when it is long.

        By itself it starts over only in a moment without readers, which may never come. This
        waits for the present readers, shortly: one that stays must not hold up every commit.
        """
        size = self._log_size()
        if size < LOG_BYTES:
            self._log_limit = LOG_BYTES
        elif size >= self._log_limit:
            with suppress(sqlite3.Error), closing(connection.connection.cursor()) as cursor:
                self._empty_log(cursor)
            self._log_limit = self._log_size() + LOG_BYTES

    def _empty_log(self, cursor: Any) -> None:
        cursor.execute(f"PRAGMA busy_timeout={round(LOG_PATIENCE_SECONDS * 1000)}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:  # the connection goes back to the pool, for writers with all their patience
            cursor.execute(f"PRAGMA busy_timeout={round(self._busy_seconds * 1000)}")

    def _log_size(self) -> int:
        try:
            return os.stat(f"{self.path}-wal").st_size
        except OSError:
            return 0

    def begin_snapshot(self, connection: Connection) -> None:
        connection.begin()

    def insert(self, table: Table) -> Insert:
        return sqlite.insert(table)

    def damaged(self, error: BaseException | None) -> bool:
        """Whether SQLite says that the file is not, or no longer, a sound database."""
        return self._code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

    @staticmethod
    def _code(error: BaseException | None) -> int:
        cause = getattr(error, "orig", None) or error
        return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF

    def translate(self, error: Exception) -> DataSyncError:
        code = self._code(error)
        said = f"{self.path.name}: {first_line(error)}"
        if isinstance(error, exc.TimeoutError):
            return LedgerBusy("every connection to the ledger is in use")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LedgerBusy(said)
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"{said} (the disk of the ledger)")
        if self.damaged(error):
            self._note_damage()
            return LedgerError(said, hint=RESTART_HINT)
        if code == sqlite3.SQLITE_IOERR:
            return LedgerError(said, hint="See the kernel's log (dmesg), and the user's quota.")
        if code == sqlite3.SQLITE_CANTOPEN and (reason := self._why_not_opened()):
            return LedgerError(f"{said}: {reason}", hint=TooManyOpenFiles.hint)
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return LedgerError(said, hint="Make the ledger's folder writable for this user.")
        return LedgerError(said)

    def _why_not_opened(self) -> str | None:
        """What the system says when it has no descriptor left: SQLite does not tell."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            return error.strerror
        return None

    def _note_damage(self) -> None:
        try:
            os.close(os.open(self.damage_mark, os.O_WRONLY | os.O_CREAT | NO_LINK, 0o644))
        except OSError as error:
            raise LedgerError(f"{self.path.name} is damaged, and so is its folder") from error
