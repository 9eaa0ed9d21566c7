"""Transactions of the ledger: connections, the way errors leave, statements for many rows.

Knows no table. A database belongs to the process that opened it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Insert,
    Select,
    bindparam,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from datasync.errors import LedgerError
from datasync.services.storage.ledger.backends import Backend
from datasync.services.storage.ledger.backends import Insert as BackendInsert

Values = tuple[Any, ...]
T = TypeVar("T")

# Safely below the number of parameters that any build of SQLite or PostgreSQL takes.
KEYS_AT_ONCE = 500
PARAMETERS_AT_ONCE = 900
_LENGTHS = (1, 8, 64, 250, KEYS_AT_ONCE)
_NAMES = tuple(f"key_{number}" for number in range(KEYS_AT_ONCE))


def fetch(connection: Connection, statement: Executable, **values: object) -> list[Values]:
    """Run a select and return the driver's own tuples: no Row objects, no type processing.

    SQLAlchemy compiles (and caches) the statement; at a million rows its work per row would
    cost more than the database's.
    """
    cursor = connection.execute(statement, values).cursor
    assert cursor is not None
    return list(cursor.fetchall())


def _ask(connection: Connection, text: str, values: Values) -> DBAPICursor:
    """Have the driver itself run a statement that is run again and again.

    What SQLAlchemy does around one, a transaction for a single select among it, takes several
    times what the database does. Outside of a transaction each such statement sees the present.
    """
    cursor = connection.connection.cursor()
    cursor.execute(text, values)
    return cursor


def in_parts(items: Sequence[Any], size: int = KEYS_AT_ONCE) -> Iterator[Sequence[Any]]:
    """Consecutive pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


class Many:
    """A statement run for many rows, handed to the driver as plain tuples.

    `names` are its parameters in the order of the tuples. Rows of an INSERT go many at a time:
    the driver gives the interpreter to other threads at each statement, and under load gets it
    back late. An INSERT that resolves conflicts must not be given two rows of one key.
    """

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = tuple(names)
        self._text: str | None = None
        self._texts: dict[int, str] = {}  # by the number of rows

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Run it for every row; nothing to do for none."""
        if not rows:
            return
        text = self._compiled(connection)
        row = text.partition(" VALUES ")[2].partition(")")[0] + ")"
        if not isinstance(self._statement, Insert) or row.count(",") != len(self._names) - 1:
            connection.connection.cursor().executemany(text, list(rows))
            return
        most, done = PARAMETERS_AT_ONCE // len(self._names), 0
        while done < len(rows):
            # Few texts, so that the driver need not read one anew for each number of rows.
            count = next(n for n in (most, most // 4, most // 16, 1) if 0 < n <= len(rows) - done)
            many = self._texts.get(count)
            if many is None:
                many = self._texts[count] = text.replace(row, ", ".join([row] * count), 1)
            values = tuple(chain.from_iterable(rows[done : done + count]))
            _ask(connection, many, values)
            done += count

    def _compiled(self, connection: Connection) -> str:
        if self._text is None:
            compiled = self._statement.compile(dialect=connection.dialect)
            assert isinstance(compiled, SQLCompiler)
            assert tuple(compiled.positiontup or ()) == self._names, compiled.positiontup
            self._text = str(compiled)
        return self._text


class Prepared:
    """A select that is asked again and again: its text is made once, for one kind of database.

    Values are given to the driver as they are, and rows come as its own tuples.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self._statement: Select[Any] | None = statement  # until the text is made: it is large
        self._text = ""
        self._names: tuple[str, ...] = ()
        self._known: dict[str, Any] = {}  # the values that are part of the statement

    def fetch(self, connection: Connection, **values: object) -> list[Values]:
        """The rows, with a value for each parameter of the statement."""
        statement = self._statement
        if statement is not None:
            compiled = statement.compile(dialect=connection.dialect)
            assert isinstance(compiled, SQLCompiler)
            self._names = tuple(compiled.positiontup or ())
            self._known = dict(compiled.params)
            self._text = str(compiled)
            self._statement = None
        given = {**self._known, **values}
        asked = tuple([given[name] for name in self._names])
        return list(_ask(connection, self._text, asked).fetchall())


class ByKeys:
    """A select of the rows of given keys, as the driver's own tuples.

    A list of keys is filled up with its last one to one of few lengths, so that no statement is
    built, nor read by the driver, for each number of keys.
    """

    def __init__(self, statement: Select[Any], key: ColumnElement[Any]) -> None:
        self._statement = statement
        self._key = key
        self._by_length: dict[int, Prepared] = {}

    def fetch(self, connection: Connection, keys: Sequence[bytes]) -> list[Values]:
        """The rows of these keys, in no order; each once."""
        found: list[Values] = []
        for part in in_parts(keys):
            length = next(length for length in _LENGTHS if length >= len(part))
            asked = dict(zip(_NAMES[:length], chain(part, repeat(part[-1])), strict=False))
            found += self._of(length).fetch(connection, **asked)
        return found

    def _of(self, length: int) -> Prepared:
        if length not in self._by_length:
            chosen = self._key.in_([bindparam(name) for name in _NAMES[:length]])
            self._by_length[length] = Prepared(self._statement.where(chosen))
        return self._by_length[length]


class Database:
    """Connections to one ledger. Safe to use from many threads of one process."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._engine = backend.engine()
        self._errors: tuple[type[Exception], ...] = (SQLAlchemyError, *backend.driver_errors)
        self._statements: dict[Callable[..., Any], Any] = {}
        self._pid = os.getpid()
        self._closed = False

    def close(self) -> None:
        """Close every connection; later use raises LedgerError."""
        self._closed = True
        self._engine.dispose()

    def relax(self) -> None:
        """Give up what idle connections keep in this process."""
        with suppress(*self._errors):  # a lost one says so to who needs it
            self.backend.relax(self._engine)

    def insert(self, table: Any) -> BackendInsert:
        """An insert that knows ON CONFLICT on this database."""
        return self.backend.insert(table)

    def prepared(self, make: "Callable[[Database], T]") -> T:
        """What `make` makes of this database, made once: statements are dear to build."""
        if make not in self._statements:
            self._statements[make] = make(self)
        made: T = self._statements[make]
        return made

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A connection for reading; with `snapshot` all its statements see one state.

        Raises: LedgerError, LedgerBusy.
        """
        with self._connected() as connection:
            if snapshot:
                self.backend.begin_snapshot(connection)
            yield connection

    @contextmanager
    def write(self, *, durable: bool = False, turn: str | None = None) -> Iterator[Connection]:
        """One write transaction: committed at the end, rolled back by any exception.

        With `durable` it is on stable storage when this returns. `turn` names a kind of work
        that must not overlap with itself in any process.

        Raises: LedgerError, LedgerBusy, DiskFull.
        """
        with self.backend.writing(), self._connected() as connection:
            self.backend.begin_write(connection, durable, turn)
            yield connection
            connection.commit()
            self.backend.written(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        self._check()
        try:
            with self._engine.connect() as connection:
                try:
                    yield connection
                except self.backend.driver_errors as error:
                    _give_up_lost(connection, error)
                    raise
        except self._errors as error:
            raise self.backend.translate(error) from error

    def _check(self) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        if os.getpid() != self._pid:
            # Neither SQLite's locks nor a server's socket survive a fork.
            raise LedgerError(
                "the ledger was opened before this process was forked",
                hint="Open the ledger in the process that uses it.",
            )
        self.backend.check()


def _give_up_lost(connection: Connection, error: Exception) -> None:
    """What SQLAlchemy does where it hears of an error that says that the connection is gone."""
    if connection.closed or connection.invalidated:
        return
    driver: Any = connection.connection
    if connection.dialect.is_disconnect(error, driver, None):  # type: ignore[arg-type]
        connection.invalidate(error)
