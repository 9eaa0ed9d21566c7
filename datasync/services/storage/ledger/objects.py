"""The objects table: what the ledger holds of each key, read in byte order of the keys."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from datasync.models.sync_models import ObjectRow, State, Verdict
from datasync.services.storage.ledger.database import ByKeys, Database, Many, Values, fetch
from datasync.services.storage.ledger.tables import encode, objects, plain, successor

STATES = {state.value: state for state in State}
VERDICTS: dict[str | None, Verdict | None] = {verdict.value: verdict for verdict in Verdict}
VERDICTS[None] = None

NAMES = tuple(column.name for column in objects.columns)
_SELECT = select(*objects.columns)


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
    ) -> list[ObjectRow]:
        """At most `limit` rows below `prefix` with after < key <= through, in byte order.

        Raises: LedgerError, LedgerBusy.
        """
        statement = _page(prefix, after, through, limit)
        if states is not None:
            statement = statement.where(objects.c.state.in_([state.value for state in states]))
        with self._database.read() as connection:
            found = fetch(connection, statement)
        return [object_row(values) for values in found]

    def count(self, prefix: str = "") -> int:
        """How many keys below `prefix` have a file on disk.

        Raises: LedgerError, LedgerBusy.
        """
        statement = select(func.count()).where(
            objects.c.path.is_not(None), *key_range(objects.c.key, prefix, "", None)
        )
        with self._database.read() as connection:
            return int(connection.execute(statement).scalar_one())


def _page(prefix: str, after: str, through: str | None, limit: int) -> Select[Any]:
    conditions = key_range(objects.c.key, prefix, after, through)
    return _SELECT.where(*conditions).order_by(objects.c.key).limit(limit)
