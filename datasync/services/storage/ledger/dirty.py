"""The dirty table: keys whose state must be looked at, marked by any process, any thread."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)

from datasync.models.sync_models import DirtyKey, EventNote
from datasync.services.storage.ledger.claim import Claim
from datasync.services.storage.ledger.database import (
    ByKeys,
    Database,
    Many,
    Prepared,
    Values,
)
from datasync.services.storage.ledger.event_figures import DUPLICATES
from datasync.services.storage.ledger.figures import (
    LAST_EVENT,
    add_figures,
    add_one,
    figure,
    raise_figure,
)
from datasync.services.storage.ledger.tables import dirty, encode, plain

NAMES = tuple(column.name for column in dirty.columns)
_SELECT = select(*dirty.columns)
_FRESH = _SELECT.where(
    dirty.c.not_before == literal_column("0.0"), dirty.c.marks <= bindparam("made_by")
).order_by(dirty.c.first_seen)
_RETRIES = _SELECT.where(
    dirty.c.not_before > literal_column("0.0"),
    dirty.c.not_before <= bindparam("now"),
    dirty.c.marks <= bindparam("made_by"),
).order_by(dirty.c.not_before)
_AHEAD = _SELECT.where(
    dirty.c.not_before > bindparam("bound"), dirty.c.marks <= bindparam("made_by")
).order_by(dirty.c.not_before)
_LOCK = select(dirty.c.key).order_by(dirty.c.key).with_for_update()
_MARKS = "marks"
_HURRY = (
    update(dirty)
    .where(
        dirty.c.not_before > bindparam("now"),
        dirty.c.last_error.like(bindparam("error")),
    )
    .values(not_before=bindparam("now"))
)
# More than any mark is made to wait for: one that waits longer was deferred by a clock that has
# been set back since.
LONGEST_WAIT_SECONDS = 2 * 3600.0
MOST_EVENTS = 10**9  # that are counted of one mark


def dirty_key(values: Values) -> DirtyKey:
    """A mark as the driver gives it, in the table's column order."""
    return DirtyKey(values[0].decode(), *values[1:])


def _by_keys(_: Database) -> ByKeys:
    return ByKeys(_SELECT, dirty.c.key)


def _known_keys(_: Database) -> ByKeys:
    return ByKeys(select(dirty.c.key), dirty.c.key)


def _locked_keys(_: Database) -> ByKeys:
    return ByKeys(_LOCK, dirty.c.key)


def _fresh(_: Database) -> Prepared:
    return Prepared(_FRESH.limit(bindparam("most")))


def _retries(_: Database) -> Prepared:
    return Prepared(_RETRIES.limit(bindparam("most")))


def _ahead(_: Database) -> Prepared:
    return Prepared(_AHEAD.limit(bindparam("most")))


class DirtyKeys(Claim):
    """Marks, and the questions a worker asks of them."""

    _database: Database

    def _prepare_dirty(self) -> None:
        insert = self._database.insert(dirty)
        new = insert.excluded
        renewed = (
            *("reason", "marks", "last_seen", "attempts", "not_before", "last_happened"),
            "traceparent",  # the newest one's, also where that has none
        )
        changes: dict[str, ColumnElement[Any]] = {name: new[name] for name in renewed}
        # A count that overflowed would keep the key from being marked at all.
        changes["events"] = case(
            (dirty.c.events < literal_column(str(MOST_EVENTS)), dirty.c.events + new.events),
            else_=dirty.c.events,
        )
        earlier = dirty.c.happened.is_(None) | (new.happened < dirty.c.happened)
        changes["happened"] = case((earlier, new.happened), else_=dirty.c.happened)
        self._mark = Many(insert.on_conflict_do_update(index_elements=["key"], set_=changes), NAMES)

    def mark(
        self, keys: Mapping[str, str] | Sequence[tuple[str, str]], now: float
    ) -> dict[str, int]:
        """Mark keys (key to reason) dirty in one transaction, without an event.

        On stable storage when it returns. A key that is dirty already is due at once again.
        Returns the marks number of each key, greater than every earlier one.

        Raises: LedgerError, LedgerBusy, DiskFull, KeyRejected; nothing is marked then.
        """
        notes = [EventNote(key, reason, now) for key, reason in dict(keys).items()]
        return self._write_marks(notes, {})

    def journal(self, notes: Sequence[EventNote], figures: Mapping[str, int]) -> None:
        """Mark the keys that events told of, as `mark` does, and add to the figures.

        Raises: LedgerError, LedgerBusy, DiskFull, KeyRejected; nothing is marked then.
        """
        self._write_marks(notes, figures, events=True)

    def _write_marks(
        self, notes: Sequence[EventNote], changes: Mapping[str, int], *, events: bool = False
    ) -> dict[str, int]:
        if not notes and not changes:
            return {}
        values = _marked(notes, events)
        with self._database.write(durable=bool(notes)) as connection:
            self.require_claim(connection)
            marks = self._next_marks(connection) if notes else 0
            if events and notes:
                known = _count_dirty(connection, self._database, list(values))
                changes = {**changes, DUPLICATES: len(notes) - len(values) + known}
                latest = max(note.received for note in notes)
                raise_figure(connection, self._database, LAST_EVENT, round(latest * 1000))
            rows = [(key, row[0], marks, *row[1:]) for key, row in values.items()]
            self._mark.run(connection, rows)
            add_figures(connection, self._database, changes)
        return dict.fromkeys((note.key for note in notes), marks)

    def _next_marks(self, connection: Connection) -> int:
        # One number for all marks ever, not one a key: a key that was cleared and marked again
        # must not get a number that a worker still holds.
        return add_one(connection, self._database, _MARKS)

    def due(
        self,
        now: float,
        limit: int,
        exclude: Collection[str] = (),
        *,
        present: float | None = None,
        made_by: int = 2**62,
    ) -> list[DirtyKey]:
        """At most `limit` marks with not_before <= now, those that wait for longest first.

        Of the deferred ones those that have been due for longest are taken. One that would have
        to wait longer than is ever waited is due: the clock was ahead when it was deferred. For
        that the time is `present`, where `now` is an earlier moment. Only marks up to the number
        `made_by` are taken.

        Raises: LedgerError, LedgerBusy.
        """
        enough = limit + len(exclude)
        bound = (now if present is None else present) + LONGEST_WAIT_SECONDS
        with self._database.read(snapshot=True) as connection:
            # Three stretches of one index, each in its order: nothing is sorted, however many wait.
            given = {"most": enough, "made_by": made_by}
            found = self._database.prepared(_fresh).fetch(connection, **given)
            found += self._database.prepared(_retries).fetch(connection, now=now, **given)
            if len(found) < enough:
                found += self._database.prepared(_ahead).fetch(connection, bound=bound, **given)
        marks = sorted(map(dirty_key, found), key=lambda mark: (mark.first_seen, mark.key))
        skipped = frozenset(exclude)
        return [mark for mark in marks if mark.key not in skipped][:limit]

    def hurry(self, error: str, now: float) -> None:
        """Make the marks due whose last attempt failed by this class of error.

        Raises: LedgerError, LedgerBusy, DiskFull.
        """
        with self._database.write() as connection:
            connection.execute(_HURRY, {"error": f"{error}:%", "now": now})

    def dirty(self, keys: Sequence[str]) -> dict[str, DirtyKey]:
        """The marks of those of the keys that are dirty.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read() as connection:
            found = self._database.prepared(_by_keys).fetch(connection, list(map(encode, keys)))
        return {mark.key: mark for mark in map(dirty_key, found)}

    def latest_mark(self) -> int:
        """The number of the latest mark that was ever made; 0 before the first.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read() as connection:
            return figure(connection, _MARKS)

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
        fresh: dict[str, ColumnElement[Any]] = {
            "first_seen": dirty.c.last_seen,
            "happened": dirty.c.last_happened,
        }
        some = dirty.c.events > literal_column("1")
        fresh["events"] = case((some, literal_column("1")), else_=dirty.c.events)
        newer = (dirty.c.key == bindparam("old_key")) & (dirty.c.marks > bindparam("old_marks"))
        self._renew = Many(update(dirty).values(fresh).where(newer), ("old_key", "old_marks"))

    def _begin_anew(
        self, connection: Connection, database: Database, cleared: Sequence[Values]
    ) -> None:
        """What is still dirty was marked again meanwhile: its waiting began with that mark."""
        known = database.prepared(_known_keys).fetch(connection, [key for key, _ in cleared])
        left = {key for (key,) in known}
        self._renew.run(connection, [values for values in cleared if values[0] in left])

    def settle(
        self,
        connection: Connection,
        database: Database,
        cleared: Iterable[DirtyKey],
        deferred: Iterable[DirtyKey],
    ) -> None:
        """Clear and defer the marks that are still the ones given; newer marks stay as they are."""
        cleared, deferred = list(cleared), list(deferred)
        # All rows first, in the order in which they are marked: else the two wait in a circle.
        keys = sorted(encode(mark.key) for mark in (*cleared, *deferred))
        database.prepared(_locked_keys).fetch(connection, keys)
        gone = sorted((encode(mark.key), mark.marks) for mark in cleared)
        self._clear.run(connection, gone)
        self._begin_anew(connection, database, gone)
        later = sorted(deferred, key=lambda mark: encode(mark.key))
        values = [
            (mark.attempts, mark.not_before, plain(mark.last_error), encode(mark.key), mark.marks)
            for mark in later
        ]
        self._defer.run(connection, values)


def _marked(notes: Sequence[EventNote], events: bool) -> dict[bytes, Values]:
    """One row a key, without its marks number, from all that was told of it."""
    told: dict[bytes, list[EventNote]] = {}
    for note in notes:
        told.setdefault(encode(note.key), []).append(note)
    # In key order: transactions that mark the same keys wait for one another, never in a circle.
    return {key: _row_of(told[key], events) for key in sorted(told)}


def _row_of(notes: Sequence[EventNote], events: bool) -> Values:
    told = [note.happened for note in notes if note.happened is not None]
    received = [note.received for note in notes]
    last = notes[-1]
    first = min(told, default=None)
    reason = plain(last.reason)
    count = len(notes) if events else 0
    times = (min(received), max(received), 0, 0.0, None, first, last.happened)
    return (reason, *times, count, last.traceparent)


def _count_dirty(connection: Connection, database: Database, keys: Sequence[bytes]) -> int:
    return len(database.prepared(_known_keys).fetch(connection, keys))
