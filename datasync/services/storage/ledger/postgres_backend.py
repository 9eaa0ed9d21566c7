"""The ledger in a PostgreSQL database: limits of waiting, transactions, errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, exc, text
from sqlalchemy.dialects import postgresql

from datasync.errors import DataSyncError, DiskFull, LedgerBusy, LedgerError
from datasync.services.storage.ledger.backends import Insert, first_line
from datasync.services.storage.ledger.patience import PatientConnection

# Numbers of PostgreSQL's advisory locks; arbitrary, but never to be changed.
TURNS = {"migrate": 7_301_001, "runs": 7_301_002, "settle": 7_301_003}


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

    def relax(self, engine: Engine) -> None:
        """Nothing: pages and statements are the server's."""

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
            # Others wait here for whoever migrates, however long that takes.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
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
