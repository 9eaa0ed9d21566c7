"""What was done in each minute, one short row a minute, and what is on its way now.

For plots and pages: nothing is decided by it.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, case, select

from datasync.models.figures import Moving, Spell
from datasync.models.sync_models import Operation, Outcome, OutcomeStatus
from datasync.services.storage.ledger.database import Database, Many, Values, fetch
from datasync.services.storage.ledger.event_figures import LONGEST_SECONDS
from datasync.services.storage.ledger.tables import activity, encode, transfers

MINUTE_SECONDS = 60
KEPT_SECONDS = 8 * 86_400
STALE_SECONDS = 10.0  # what was noted before that, nobody carries any more
_SUMS = ("downloaded", "bytes", "deleted", "failed", "events", "lag_ms")
_NAMES = ("minute", *_SUMS, "most_lag_ms")


def minutes_of(told: Iterable[Outcome]) -> list[Values]:
    """What these outcomes add to the minutes in which they came about."""
    minutes: dict[int, list[int]] = {}
    for outcome in told:
        row = minutes.setdefault(int(outcome.at) // MINUTE_SECONDS, [0] * (len(_SUMS) + 1))
        if outcome.status is OutcomeStatus.FAILED:
            row[3] += 1
        elif outcome.operation is Operation.DOWNLOAD:
            row[0] += 1
            row[1] += outcome.bytes
        elif outcome.operation is Operation.DELETE:
            row[2] += 1
        if outcome.lag_seconds is not None:
            lag_ms = round(min(outcome.lag_seconds, LONGEST_SECONDS) * 1000)
            row[4] += 1
            row[5] += lag_ms
            row[6] = max(row[6], lag_ms)
    return [(minute, *row) for minute, row in sorted(minutes.items()) if any(row)]


def add_minutes(connection: Connection, database: Database, minutes: Sequence[Values]) -> None:
    database.prepared(_addition).run(connection, minutes)


def forget_activity(connection: Connection, now: float) -> None:
    """Drop the minutes that no plot shows any more."""
    oldest = int(now - KEPT_SECONDS) // MINUTE_SECONDS
    connection.execute(activity.delete().where(activity.c.minute < oldest))


def _addition(database: Database) -> Many:
    insert = database.insert(activity)
    new = insert.excluded
    most = activity.c.most_lag_ms
    changes = {name: activity.c[name] + new[name] for name in _SUMS}
    changes["most_lag_ms"] = case((new.most_lag_ms > most, new.most_lag_ms), else_=most)
    statement = insert.on_conflict_do_update(index_elements=["minute"], set_=changes)
    return Many(statement, _NAMES)


class Activity:
    """What plots show."""

    _database: Database

    def activity(self, since: float, until: float, step_seconds: int) -> list[Spell]:
        """What was done between two times, in equal steps, also of those in which nothing was.

        `step_seconds` is a whole number of minutes; the first step begins at or before `since`.

        Raises: LedgerError, LedgerBusy.
        """
        minutes = step_seconds // MINUTE_SECONDS
        first, last = int(since) // step_seconds, int(until) // step_seconds
        wanted = activity.c.minute.between(first * minutes, (last + 1) * minutes - 1)
        statement = select(*(activity.c[name] for name in _NAMES)).where(wanted)
        with self._database.read() as connection:
            found = fetch(connection, statement)
        steps = {number: [0] * (len(_SUMS) + 1) for number in range(first, last + 1)}
        for minute, *values, most in found:
            row = steps[minute // minutes]
            for place, value in enumerate(values):
                row[place] += value
            row[-1] = max(row[-1], most)
        return [
            Spell(
                float(number * step_seconds),
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                lag_seconds=row[5] / 1000 / row[4] if row[4] else None,
                most_lag_seconds=row[6] / 1000 if row[4] else None,
            )
            for number, row in steps.items()
        ]

    def note_transfers(self, moving: Sequence[Moving], now: float) -> None:
        """Replace what is known to be on its way. Raises: LedgerError, LedgerBusy, DiskFull."""
        rows = [
            (encode(each.key), each.size, each.received, each.started, each.run_id, now)
            for each in moving
        ]
        with self._database.write() as connection:
            connection.execute(transfers.delete())
            self._database.prepared(_noting).run(connection, rows)

    def moving(self, now: float) -> list[Moving]:
        """What is on its way, the longest first. Raises: LedgerError, LedgerBusy."""
        fresh = transfers.c.noted >= now - STALE_SECONDS
        wanted = select(*(transfers.c[name] for name in _MOVING)).where(fresh)
        with self._database.read() as connection:
            found = fetch(connection, wanted.order_by(transfers.c.started, transfers.c.key))
        return [Moving(key.decode(), *rest) for key, *rest in found]


_MOVING = ("key", "size", "received", "started", "run_id")
_NOTED = (*_MOVING, "noted")


def _noting(_: Database) -> Many:
    return Many(transfers.insert().values({name: bindparam(name) for name in _NOTED}), _NOTED)
