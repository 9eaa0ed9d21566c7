"""The objects table: what the ledger holds of each key, read in byte order of the keys."""

from collections.abc import Container, Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, case, func, select, text

from datasync.models.entries import Version
from datasync.models.sync_models import ObjectRow, State, Verdict
from datasync.services.storage.ledger.database import ByKeys, Database, Many, Values, fetch
from datasync.services.storage.ledger.tables import (
    IS_UNSYNCED,
    encode,
    objects,
    plain,
    successor,
)

STATES = {state.value: state for state in State}
VERDICTS: dict[str | None, Verdict | None] = {verdict.value: verdict for verdict in Verdict}
VERDICTS[None] = None

NAMES = tuple(column.name for column in objects.columns)
_SELECT = select(*objects.columns)
_IN_SHORT = select(
    objects.c.key,
    objects.c.etag,
    objects.c.size,
    objects.c.last_modified,
    func.nullif(objects.c.path, objects.c.key),
    case(
        (
            (objects.c.state == State.SYNCED.value)
            & objects.c.path.is_not(None)
            & (objects.c.local_size == objects.c.size),
            objects.c.mtime_ns,
        )
    ),
)


def object_row(values: Values) -> ObjectRow:
    """A row as the driver gives it, in the table's column order."""
    stored = values[0]
    key = stored.decode()
    path = values[5]
    if path is not None:
        path = key if path == stored else path.decode()
    return ObjectRow(
        key,
        values[1],
        values[2],
        values[3],
        STATES[values[4]],
        path,
        values[6],
        values[7],
        values[8],
        VERDICTS[values[9]],
        values[10],
        values[11],
        values[12],
    )


# A file as the ledger remembers it: path, size, mtime_ns.
HeldFile: TypeAlias = tuple[bytes, int, int]


class Stretch:
    """The rows of consecutive keys, as far as they are needed to see what has changed.

    Of each: key, ETag, size, last modified; the path when it is not the key; and the mtime_ns of
    a whole file, None when its state is another one than synced or there is no such file.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Sequence[Values]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def first(self, count: int) -> "Stretch":
        """The first of them only."""
        return Stretch(self._values[:count])

    @property
    def last_key(self) -> str:
        key: bytes = self._values[-1][0]
        return key.decode()

    def keys(self, without: Container[bytes] = ()) -> list[str]:
        """The keys, in their order, but for some."""
        return [values[0].decode() for values in self._values if values[0] not in without]

    def files(self, versions: Container[Version]) -> dict[bytes, HeldFile]:
        """By key, the files that are synced, each of one of these very versions."""
        return {
            values[0]: (values[0] if values[4] is None else values[4], values[2], values[5])
            for values in self._values
            if values[5] is not None and values[:4] in versions
        }


def object_values(row: ObjectRow) -> Values:
    """A row as the driver takes it, in the table's column order."""
    return (
        encode(row.key),
        row.etag,
        row.size,
        row.last_modified,
        row.state._value_,
        None if row.path is None else encode(row.path),
        row.local_size,
        row.mtime_ns,
        row.version_id,
        None if row.verdict is None else row.verdict._value_,
        plain(row.reason),
        row.seen_etag,
        row.synced_at,
    )


def upsert_objects(database: Database) -> Many:
    """Insert rows, or replace those of the same keys."""
    insert = database.insert(objects)
    changes = {name: insert.excluded[name] for name in NAMES if name != "key"}
    return Many(insert.on_conflict_do_update(index_elements=["key"], set_=changes), NAMES)


def key_range(
    column: ColumnElement[Any], prefix: str, after: str, through: str | None
) -> list[ColumnElement[bool]]:
    """Conditions for keys below `prefix` with after < key <= through, as one range of bytes."""
    start, past = encode(prefix), encode(after)
    conditions = []
    if past >= start and past:
        conditions.append(column > past)
    elif start:
        conditions.append(column >= start)
    end = successor(start)
    if end is not None:
        conditions.append(column < end)
    if through is not None:
        conditions.append(column <= encode(through))
    return conditions


def _by_keys(_: Database) -> ByKeys:
    return ByKeys(_SELECT, objects.c.key)


class Objects:
    """Reads of the objects table."""

    _database: Database

    def get(self, key: str) -> ObjectRow | None:
        """The row of a key, or None when the ledger does not know it.

        Raises: LedgerError, LedgerBusy, KeyRejected when the key is not UTF-8.
        """
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, ObjectRow]:
        """The rows of those of the keys that the ledger knows.

        Raises: LedgerError, LedgerBusy, KeyRejected when a key is not UTF-8.
        """
        with self._database.read() as connection:
            found = self._database.prepared(_by_keys).fetch(connection, list(map(encode, keys)))
        return {row.key: row for row in map(object_row, found)}

    def rows(
        self,
        prefix: str = "",
        after: str = "",
        through: str | None = None,
        limit: int = 1000,
        states: Sequence[State] | None = None,
        verdict: Verdict | None = None,
        least_bytes: int = 0,
    ) -> list[ObjectRow]:
        """At most `limit` rows below `prefix` with after < key <= through, in byte order.

        Only those of these states, of this verdict, of at least this size, if it is said.

        Raises: LedgerError, LedgerBusy.
        """
        statement = _page(_SELECT, prefix, after, through, limit)
        if states is not None:
            statement = statement.where(objects.c.state.in_([state.value for state in states]))
            if State.SYNCED not in states:
                statement = statement.where(text(IS_UNSYNCED))  # has an index: they are few
        if verdict is not None:
            statement = statement.where(objects.c.verdict == verdict.value)
        if least_bytes:
            statement = statement.where(objects.c.size >= least_bytes)
        with self._database.read() as connection:
            found = fetch(connection, statement)
        return [object_row(values) for values in found]

    def stretch(self, prefix: str, after: str, through: str | None, limit: int) -> Stretch:
        """What `rows` gives, in short: a row is dear to read and to make, and few are needed.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read() as connection:
            return Stretch(fetch(connection, _page(_IN_SHORT, prefix, after, through, limit)))

    def count(self, prefix: str = "") -> int:
        """How many keys below `prefix` have a file on disk.

        Raises: LedgerError, LedgerBusy.
        """
        statement = select(func.count()).where(
            objects.c.path.is_not(None), *key_range(objects.c.key, prefix, "", None)
        )
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())


def _page(
    columns: Select[Any], prefix: str, after: str, through: str | None, limit: int
) -> Select[Any]:
    conditions = key_range(objects.c.key, prefix, after, through)
    return columns.where(*conditions).order_by(objects.c.key).limit(limit)
