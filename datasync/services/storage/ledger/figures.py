"""Figures of the whole mirror, kept as running totals so that asking for them never scans."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
)

from datasync.models.figures import LedgerTotals
from datasync.models.sync_models import State
from datasync.services.storage.ledger.backends import Insert
from datasync.services.storage.ledger.database import ByKeys, Database, Many, Values, fetch
from datasync.services.storage.ledger.tables import IS_FAILING, dirty, figures, objects

# No figure grows beyond this, and no change of one is larger: a statistic that overflowed would
# fail the transaction that it is a part of.
FULL = 2**62 - 1

_STATE, FILES, BYTES = "state.", "files", "bytes"
DELETES = "deleted."  # and the time from which they are counted, in seconds, as 12 digits
DELETES_SECONDS = 300  # are counted together
DELETES_KEPT_SECONDS = 86_400
AHEAD_MILLISECONDS = 300_000  # more than clocks of one service differ by
LAST_EVENT = "last_event"  # when the latest event that marked a key came, in milliseconds

_HELD = select(objects.c.state, objects.c.path.is_not(None), objects.c.local_size)
_MARK_FAILED: ColumnElement[bool] = literal_column("dirty.last_error IS NOT NULL")
_FAILED_MARKS = select(func.count()).select_from(dirty).where(_MARK_FAILED)
_FAILED_BOTH = (
    select(func.count())
    .select_from(objects.join(dirty, objects.c.key == dirty.c.key))
    .where(_MARK_FAILED, text(f"objects.{IS_FAILING}"), objects.c.state != State.REJECTED.value)
)


def add_figures(connection: Connection, database: Database, changes: Mapping[str, int]) -> None:
    """Add to running totals, in one order of names for all writers."""
    values = [
        (name, max(-FULL, min(FULL, changes[name]))) for name in sorted(changes) if changes[name]
    ]
    database.prepared(_additions).run(connection, values)


def add_one(connection: Connection, database: Database, name: str) -> int:
    """Add one to a figure; what it is then. Others who add to it wait until this is committed."""
    adding = database.prepared(_addition_told)
    return int(connection.execute(adding, {"name": name, "value": 1}).scalar_one())


def figure(connection: Connection, name: str) -> int:
    """What a figure is now; 0 when nothing was ever added to it."""
    found = select(figures.c.value).where(figures.c.name == name)
    return int(connection.execute(found).scalar() or 0)


def _additions(database: Database) -> Many:
    return Many(_addition(database), ("name", "value"))


def _addition_told(database: Database) -> Executable:
    return _addition(database).returning(figures.c.value)


def _addition(database: Database) -> Insert:
    insert = database.insert(figures)
    added = insert.excluded.value
    full: ColumnElement[int] = literal_column(str(FULL))
    has_room = figures.c.value < full - added
    total = case((has_room, figures.c.value + added), else_=full)
    return insert.on_conflict_do_update(index_elements=["name"], set_={"value": total})


def raise_figure(connection: Connection, database: Database, name: str, value: int) -> None:
    """Set a time, in milliseconds, that only grows, unless it is later already.

    One that is far ahead is of a clock that was set back since.
    """
    database.prepared(_raising).run(connection, [(name, value)])


def _raising(database: Database) -> Many:
    insert = database.insert(figures)
    given, known = insert.excluded.value, figures.c.value
    far_ahead = known - literal_column(str(AHEAD_MILLISECONDS))
    later = or_(given > known, given < far_ahead)
    statement = insert.on_conflict_do_update(
        index_elements=["name"], set_={"value": given}, where=later
    )
    return Many(statement, ("name", "value"))


def delete_figures(count: int, at: float) -> Counter[str]:
    """What so many deletes at that time add to the figures."""
    since = int(at) // DELETES_SECONDS * DELETES_SECONDS
    return Counter({f"{DELETES}{since:012}": count})


def forget_deletes(connection: Connection, now: float) -> None:
    """Drop the figures of deletes that are too old to be of interest."""
    name = figures.c.name
    oldest = f"{DELETES}{max(0, int(now) - DELETES_KEPT_SECONDS):012}"
    connection.execute(figures.delete().where(name >= DELETES, name < oldest))


def figures_of(values: Sequence[Values]) -> Counter[str]:
    """What rows (state, has a file, local size) add to the figures."""
    total: Counter[str] = Counter()
    for state, has_file, local_size in values:
        total[_STATE + state] += 1
        if has_file:
            total[FILES] += 1
            total[BYTES] += local_size or 0
    return total


def held_figures(connection: Connection, database: Database, keys: Sequence[bytes]) -> Counter[str]:
    """What the stored rows of these keys add to the figures."""
    return figures_of(database.prepared(_held).fetch(connection, keys))


def _held(_: Database) -> ByKeys:
    return ByKeys(_HELD, objects.c.key)


class Figures:
    """The figures that health shows."""

    _database: Database

    def totals(self) -> LedgerTotals:
        """The figures of files and keys, of one moment.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read(snapshot=True) as connection:
            values: dict[str, int] = dict(
                fetch(connection, select(figures.c.name, figures.c.value))
            )
            pending, oldest = _pending(connection)
            failed_marks = _failed_marks(connection)
        states = {state: values.get(_STATE + state.value, 0) for state in State}
        return LedgerTotals(
            objects=sum(states.values()),
            bytes=values.get(BYTES, 0),
            by_state={state: count for state, count in states.items() if count},
            pending=pending,
            oldest_pending=oldest,
            failed=states[State.FAILED] + states[State.STALE] + failed_marks,
            last_event=values[LAST_EVENT] / 1000 if LAST_EVENT in values else None,
            files=values.get(FILES, 0),
            deletes={
                int(name.removeprefix(DELETES)): count
                for name, count in values.items()
                if name.startswith(DELETES)
            },
        )


def _pending(connection: Connection) -> tuple[int, float | None]:
    # Two statements: the first is a count of one index, the second a look at its end.
    count = connection.execute(select(func.count()).select_from(dirty)).scalar_one()
    return int(count), connection.execute(select(func.min(dirty.c.first_seen))).scalar_one()


def _failed_marks(connection: Connection) -> int:
    """Marks whose last attempt failed, of keys that no failed or stale row counts already."""
    marks = int(connection.execute(_FAILED_MARKS).scalar_one())
    return marks - int(connection.execute(_FAILED_BOTH).scalar_one()) if marks else 0
