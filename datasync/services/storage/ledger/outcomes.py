"""The outcomes table: the bounded history of what was done to which key and why."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select

from datasync.models.sync_models import Operation, Outcome, OutcomeStatus, RunStatus
from datasync.services.storage.ledger.activity import forget_activity
from datasync.services.storage.ledger.database import Database, Many, Values, fetch, in_parts
from datasync.services.storage.ledger.figures import forget_deletes
from datasync.services.storage.ledger.objects import VERDICTS
from datasync.services.storage.ledger.plans import forget_plans
from datasync.services.storage.ledger.tables import (
    IS_FAILED_OUTCOME,
    encode,
    outcomes,
    plain,
    runs,
)

OPERATIONS = {operation.value: operation for operation in Operation}
STATUSES = {status.value: status for status in OutcomeStatus}
PRUNE_ROWS = 10_000  # in one transaction, so that nobody waits long for it
FRESH_SECONDS = 3600.0  # somebody may still be waiting for a run that ended just now
_OVER = [s.value for s in RunStatus if s not in ("queued", "running", "held")]

_NAMES = tuple(column.name for column in outcomes.columns if column.name != "id")
SELECT_OUTCOME = select(*(outcomes.c[name] for name in _NAMES))
FAILED_OUTCOME: ColumnElement[bool] = literal_column(IS_FAILED_OUTCOME)
_NEWEST_IDS = (
    select(func.max(outcomes.c.id))
    .where(outcomes.c.key.in_(bindparam("keys", expanding=True)))
    .group_by(outcomes.c.key)
)
_LATEST = SELECT_OUTCOME.where(outcomes.c.id.in_(_NEWEST_IDS))


def outcome_of(values: Values) -> Outcome:
    """An outcome as the driver gives it, without its id."""
    key, operation, status, message, at, run_id, size, seconds, verdict, *rest = values
    return Outcome(
        key.decode(),
        OPERATIONS[operation],
        STATUSES[status],
        message,
        at,
        run_id,
        size,
        seconds,
        VERDICTS[verdict],
        *rest,
    )


def outcome_values(outcome: Outcome) -> Values:
    """An outcome as the driver takes it, without its id."""
    return (
        encode(outcome.key),
        outcome.operation._value_,
        outcome.status._value_,
        plain(outcome.message),
        outcome.at,
        outcome.run_id,
        outcome.bytes,
        outcome.seconds,
        None if outcome.verdict is None else outcome.verdict._value_,
        outcome.error,
        plain(outcome.hint),
        outcome.lag_seconds,
        outcome.event_lag_seconds,
    )


def insert_outcomes() -> Many:
    """Insert outcomes; their ids grow in the order given."""
    return Many(outcomes.insert().values({name: bindparam(name) for name in _NAMES}), _NAMES)


class Outcomes:
    """The history, and its bounds."""

    _database: Database

    def outcomes(
        self,
        *,
        run_id: int | None = None,
        key: str | None = None,
        limit: int = 1000,
        failures_first: bool = True,
    ) -> list[Outcome]:
        """At most `limit` outcomes, newest first; failed ones before all others if wanted so.

        `run_id` and `key` narrow them; without `run_id` those of events and runs are mixed.

        Raises: LedgerError, LedgerBusy.
        """
        statement = _history(run_id, key).limit(limit)
        with self._database.read(snapshot=True) as connection:
            if not failures_first:
                found = fetch(connection, statement)
            else:
                found = fetch(connection, statement.where(FAILED_OUTCOME))
                rest = statement.where(outcomes.c.status != OutcomeStatus.FAILED.value)
                found += fetch(connection, rest.limit(limit - len(found)))
        return [outcome_of(values) for values in found]

    def history(
        self,
        *,
        run_id: int | None = None,
        key: str | None = None,
        before: int | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[tuple[int, Outcome]]:
        """At most `limit` outcomes with their ids, newest first; ids between the bounds.

        Raises: LedgerError, LedgerBusy.
        """
        statement = _history(run_id, key).add_columns(outcomes.c.id).limit(limit)
        if before is not None:
            statement = statement.where(outcomes.c.id < before)
        if after is not None:
            statement = statement.where(outcomes.c.id > after)
        with self._database.read() as connection:
            found = fetch(connection, statement)
        return [(values[-1], outcome_of(values[:-1])) for values in found]

    def latest_outcomes(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """The newest outcome of each of these keys that has any.

        Raises: LedgerError, LedgerBusy.
        """
        found: list[Values] = []
        with self._database.read() as connection:
            for part in in_parts(list(map(encode, keys))):
                found += fetch(connection, _LATEST, keys=part)
        return {told.key: told for told in map(outcome_of, found)}

    def prune(
        self,
        now: float,
        *,
        keep_outcomes: int = 100_000,
        keep_runs: int = 1_000,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Drop the oldest outcomes, and the oldest runs that ended more than an hour ago.

        Ends early, between two transactions, once `stopped()` says so.

        Raises: LedgerError, LedgerBusy.
        """
        while not stopped() and self._prune_outcomes(keep_outcomes):
            pass
        if not stopped():
            self._prune_runs(now, keep_runs)

    def _prune_runs(self, now: float, keep: int) -> None:
        over = runs.c.status.in_(_OVER) & (runs.c.finished < now - FRESH_SECONDS)
        newest = select(runs.c.id).order_by(runs.c.id.desc()).limit(keep)
        with self._database.write(turn="runs") as connection:
            kept = min((id_ for (id_,) in fetch(connection, newest)), default=None)
            old = over if kept is None else over & (runs.c.id < kept)
            ended = [id_ for (id_,) in fetch(connection, select(runs.c.id).where(old))]
            for part in in_parts(ended):
                forget_plans(connection, part)
                connection.execute(runs.delete().where(runs.c.id.in_(part)))
            forget_deletes(connection, now)
            forget_activity(connection, now)

    def _prune_outcomes(self, keep: int) -> bool:
        """Drop some of the outcomes older than the newest `keep`; whether there may be more."""
        ids = select(outcomes.c.id).order_by(outcomes.c.id.desc()).offset(keep).limit(1)
        oldest = select(outcomes.c.id).order_by(outcomes.c.id).offset(PRUNE_ROWS - 1).limit(1)
        with self._database.write() as connection:
            last = connection.execute(ids).scalar()
            if last is None:
                return False
            end = connection.execute(oldest).scalar()
            reach = last if end is None else min(last, end)
            connection.execute(outcomes.delete().where(outcomes.c.id <= reach))
        return bool(reach < last)


def _history(run_id: int | None, key: str | None) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = []
    if run_id is not None:
        conditions.append(outcomes.c.run_id == run_id)
    if key is not None:
        conditions.append(outcomes.c.key == encode(key))
    return SELECT_OUTCOME.where(*conditions).order_by(outcomes.c.id.desc())
