"""The dirty table: keys whose state must be looked at, marked by any process, any thread."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from datasync.models.sync_models import DirtyKey
from datasync.services.storage.ledger.database import Database, Many, Values, fetch, in_parts
from datasync.services.storage.ledger.figures import add_figures
from datasync.services.storage.ledger.tables import dirty, encode, figures, plain

NAMES = tuple(column.name for column in dirty.columns)
NO_COUNTERS: Mapping[str, int] = MappingProxyType({})
_SELECT = select(*dirty.columns)
_BY_KEYS = _SELECT.where(dirty.c.key.in_(bindparam("keys", expanding=True)))
_MARKS = "marks"


def dirty_key(values: Values) -> DirtyKey:
    """A mark as the driver gives it, in the table's column order."""
    return DirtyKey(values[0].decode(), *values[1:])


class DirtyKeys:
    """Marks, and the questions a worker asks of them."""

    _database: Database

    def _prepare_dirty(self) -> None:
        insert = self._database.insert(dirty)
        renewed = ("reason", "marks", "last_seen", "attempts", "not_before")
        changes = {name: insert.excluded[name] for name in renewed}
        self._mark = Many(insert.on_conflict_do_update(index_elements=["key"], set_=changes), NAMES)

    def mark(
        self,
        keys: Mapping[str, str] | Sequence[tuple[str, str]],
        now: float,
        *,
        counters: Mapping[str, int] = NO_COUNTERS,
    ) -> dict[str, int]:
        """Mark keys (key to reason) dirty and add to the event counters: one transaction.

        On stable storage when it returns. A key that is dirty already is due at once again.
        Returns the marks number of each key, greater than every earlier one.

        Raises: LedgerError, LedgerBusy, DiskFull, KeyRejected; nothing is marked then.
        """
        reasons = dict(keys)
        if not reasons and not counters:
            return {}
        with self._database.write(durable=bool(reasons)) as connection:
            marks = self._next_marks(connection) if reasons else 0
            self._mark.run(connection, _marked(reasons, marks, now))
            add_figures(connection, self._database, _event_names(counters))
        return dict.fromkeys(reasons, marks)

    def _next_marks(self, connection: Connection) -> int:
        # One number for all marks ever, not one a key: a key that was cleared and marked again
        # must not get a number that a worker still holds.
        add_figures(connection, self._database, {_MARKS: 1})
        latest = select(figures.c.value).where(figures.c.name == _MARKS)
        return int(connection.execute(latest).scalar_one())

    def due(self, now: float, limit: int, exclude: Collection[str] = ()) -> list[DirtyKey]:
        """At most `limit` marks with not_before <= now, the oldest last_seen first.

        Raises: LedgerError, LedgerBusy.
        """
        enough = limit + len(exclude)
        with self._database.read(snapshot=True) as connection:
            # Two ranges of one index: fresh marks are found in order among any number of
            # deferred ones.
            found = _oldest(connection, [dirty.c.not_before <= 0], enough)
            retries = [dirty.c.not_before > 0, dirty.c.not_before <= now]
            found += _oldest(connection, retries, enough)
        marks = sorted(map(dirty_key, found), key=lambda mark: (mark.last_seen, mark.key))
        skipped = frozenset(exclude)
        return [mark for mark in marks if mark.key not in skipped][:limit]

    def dirty(self, keys: Sequence[str]) -> dict[str, DirtyKey]:
        """The marks of those of the keys that are dirty.

        Raises: LedgerError, LedgerBusy.
        """
        found: list[Values] = []
        with self._database.read() as connection:
            for part in in_parts(list(map(encode, keys))):
                found += fetch(connection, _BY_KEYS, keys=part)
        return {mark.key: mark for mark in map(dirty_key, found)}

    def dirty_count(self) -> int:
        """How many keys are dirty.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(dirty)).scalar_one())


class DirtySettling:
    """What a finished group of work does to marks."""

    def __init__(self) -> None:
        same = (dirty.c.key == bindparam("old_key")) & (dirty.c.marks == bindparam("old_marks"))
        self._clear = Many(dirty.delete().where(same), ("old_key", "old_marks"))
        deferred = ("attempts", "not_before", "last_error")
        self._defer = Many(
            update(dirty).values({name: bindparam(name) for name in deferred}).where(same),
            (*deferred, "old_key", "old_marks"),
        )

    def settle(
        self, connection: Connection, cleared: Iterable[DirtyKey], deferred: Iterable[DirtyKey]
    ) -> None:
        """Clear and defer the marks that are still the ones given; newer marks stay as they are."""
        self._clear.run(connection, sorted((encode(mark.key), mark.marks) for mark in cleared))
        later = sorted(deferred, key=lambda mark: encode(mark.key))
        values = [
            (mark.attempts, mark.not_before, plain(mark.last_error), encode(mark.key), mark.marks)
            for mark in later
        ]
        self._defer.run(connection, values)


def _marked(reasons: Mapping[str, str], marks: int, now: float) -> list[Values]:
    # In key order: transactions that mark the same keys wait for one another, never in a circle.
    keys = sorted((encode(key), plain(reason)) for key, reason in reasons.items())
    return [(key, reason, marks, now, now, 0, 0.0, None) for key, reason in keys]


def _event_names(counters: Mapping[str, int]) -> dict[str, int]:
    return {f"event.{name}": count for name, count in counters.items()}


def _oldest(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[Values]:
    statement = _SELECT.where(*conditions).order_by(dirty.c.last_seen, dirty.c.key).limit(limit)
    return fetch(connection, statement)
