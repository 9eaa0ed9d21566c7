"""Everything in which SQLite and PostgreSQL differ: engines, transactions, upserts, errors.

The rest of the ledger is the same code for both. Knows no table and no value of the engine.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psycopg
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, exc, text
from sqlalchemy.dialects import postgresql, sqlite

from datasync.errors import (
    DataSyncError,
    DiskFull,
    LedgerBusy,
    LedgerError,
    TooManyOpenFiles,
)
from datasync.services.storage.ledger.patience import PatientConnection
from datasync.services.storage.paths import INTERNAL

Insert = sqlite.Insert | postgresql.Insert

RESTART_HINT = (
    "Restart DataSync: it sets the damaged ledger aside "
    "and builds a new one from the files on disk."
)
NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
LOG_BYTES = 64 * 2**20  # how long the log of a SQLite ledger may become
LOG_PATIENCE_SECONDS = 0.25
# Numbers of PostgreSQL's advisory locks; arbitrary, but never to be changed.
TURNS = {"migrate": 7_301_001, "runs": 7_301_002, "settle": 7_301_003, "claim": 7_301_004}


class Backend(Protocol):
    """One kind of database."""

    driver_errors: tuple[type[Exception], ...]

    def engine(self) -> Engine:
        """A new engine; connects when it is first used."""

    def check(self) -> None:
        """Raises: LedgerError when the database in use is no longer the one at the URL."""

    def writing(self) -> Any:
        """Context in which this process may begin a write.

        Raises: LedgerBusy.
        """

    def begin_write(self, connection: Connection, durable: bool, turn: str | None) -> None:
        """Begin; `turn` names a lock under which only one writer at a time works."""

    def written(self, connection: Connection) -> None:
        """Keep house behind a write that is committed; what goes wrong here is no error."""

    def begin_snapshot(self, connection: Connection) -> None:
        """Begin a read in which several statements see the same state."""

    def insert(self, table: Table) -> Insert:
        """An insert that knows ON CONFLICT."""

    def translate(self, error: Exception) -> DataSyncError:
        """Our error for one of SQLAlchemy's or the driver's, without secrets."""


def first_line(error: Exception) -> str:
    """What the driver said, in one line."""
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


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

    @staticmethod
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin when we say so
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-16384")
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


class PostgresBackend:
    """A PostgreSQL database, through psycopg.

    No call waits without end: the server ends a statement that takes too long, TCP finds a peer
    that is gone, and we give up on one that says nothing at all. Only a migration may take its
    time, as long as the peer is there.
    """

    driver_errors: tuple[type[Exception], ...] = (psycopg.Error,)
    _BUSY = frozenset({"40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03"})

    def __init__(self, url: URL, busy_seconds: float) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._busy_seconds = busy_seconds
        self._statement_seconds = 3 * busy_seconds
        self._silent_seconds = 4 * busy_seconds  # the server's own limit comes first

    def engine(self) -> Engine:
        engine = create_engine(
            self._url,
            paramstyle="format",
            connect_args=self._connect_args(),
            pool_size=8,
            max_overflow=24,
            pool_timeout=self._busy_seconds,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "checkout", self._checked_out)
        event.listen(engine, "checkin", self._checked_in)
        return engine

    def _connect_args(self) -> dict[str, int]:
        """Limits for libpq, in seconds but the last, in milliseconds; what the URL says wins."""
        seconds = self._busy_seconds
        limits = {
            "connect_timeout": max(2, round(seconds)),
            "keepalives_idle": max(1, round(seconds)),
            "keepalives_interval": max(1, round(seconds / 3)),
            "keepalives_count": 3,
            "tcp_user_timeout": round(2000 * seconds),
        }
        return {name: limit for name, limit in limits.items() if name not in self._url.query}

    def _connect(
        self, _dialect: object, _record: object, given: list[Any], named: dict[str, Any]
    ) -> PatientConnection:
        connection = PatientConnection.connect(*given, **named)
        connection.patience_seconds = self._busy_seconds
        return connection

    def _prepare(self, connection: PatientConnection, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {round(self._busy_seconds * 1000)}")
        connection.execute(f"SET statement_timeout = {round(self._statement_seconds * 1000)}")
        connection.commit()

    def _checked_out(self, connection: PatientConnection, *_: object) -> None:
        connection.patience_seconds = self._silent_seconds

    def _checked_in(self, connection: PatientConnection | None, *_: object) -> None:
        if connection is not None:  # the ping before its next use must not take that long
            connection.patience_seconds = self._busy_seconds

    def check(self) -> None:
        """A server that went away is found by the connection."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def begin_write(self, connection: Connection, durable: bool, turn: str | None) -> None:
        connection.begin()
        level = "on" if durable else "off"
        connection.exec_driver_sql(f"SET LOCAL synchronous_commit = {level}")
        if turn == "migrate":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            driver = connection.connection.driver_connection
            assert isinstance(driver, PatientConnection)
            driver.patience_seconds = None
        if turn is not None:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({TURNS[turn]})"))

    def written(self, connection: Connection) -> None:
        """The server keeps its own house."""

    def begin_snapshot(self, connection: Connection) -> None:
        connection.execution_options(isolation_level="REPEATABLE READ").begin()

    def insert(self, table: Table) -> Insert:
        return postgresql.insert(table)

    def translate(self, error: Exception) -> DataSyncError:
        cause = getattr(error, "orig", None) or error
        state = getattr(cause, "sqlstate", None) or ""
        said = f"PostgreSQL: {self._without_password(first_line(error))}"
        if isinstance(error, exc.TimeoutError):
            return LedgerBusy("every connection to the ledger is in use")
        if state.startswith("28") or "authentication failed" in said:
            return LedgerError(said, hint="Check the user and password in DATABASE_URL.")
        if state == "53100":
            return DiskFull(f"{said} (the disk of the ledger)")
        if state in self._BUSY or state.startswith("08"):
            return LedgerBusy(said)
        if isinstance(cause, psycopg.OperationalError) and not state:
            return LedgerBusy(
                said, hint="Check that the PostgreSQL of DATABASE_URL can be reached."
            )
        return LedgerError(said)

    def _without_password(self, said: str) -> str:
        password = self._url.password
        return said.replace(str(password), "***") if password else said
