"""Keys that are not right: what the objects, dirty and outcomes tables say of them together."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    Table,
    bindparam,
    func,
    literal_column,
    select,
)

from datasync.models.sync_models import DirtyKey, Failure, State
from datasync.services.storage.ledger.database import Database, Values, fetch, in_parts
from datasync.services.storage.ledger.dirty import dirty_key
from datasync.services.storage.ledger.objects import STATES, key_range
from datasync.services.storage.ledger.outcomes import FAILED_OUTCOME, SELECT_OUTCOME, outcome_of
from datasync.services.storage.ledger.tables import IS_FAILING, dirty, objects, outcomes

_KEYS: BindParameter[Any] = bindparam("keys", expanding=True)
_ROWS = select(objects.c.key, objects.c.state, objects.c.reason, objects.c.synced_at).where(
    objects.c.key.in_(_KEYS)
)
_MARKS = select(*dirty.columns).where(dirty.c.key.in_(_KEYS))
_LATEST = SELECT_OUTCOME.where(
    outcomes.c.id.in_(
        select(func.max(outcomes.c.id))
        .where(outcomes.c.key.in_(_KEYS), FAILED_OUTCOME)
        .group_by(outcomes.c.key)
    )
)


class Failures:
    """Reads failures."""

    _database: Database

    def failures(self, prefix: str = "", after: str = "", limit: int = 100) -> list[Failure]:
        """At most `limit` keys that are failed, rejected or stale, or whose last attempt failed.

        Below `prefix`, past `after`, in byte order of the keys.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read(snapshot=True) as connection:
            rows = _keys(connection, objects, IS_FAILING, prefix, after, limit)
            marks = _keys(connection, dirty, "last_error IS NOT NULL", prefix, after, limit)
            keys = sorted(rows | marks)[:limit]
            states = _keyed(connection, _ROWS, keys)
            pending = _keyed(connection, _MARKS, keys)
            latest = _keyed(connection, _LATEST, keys)
        return [_failure(key, states.get(key), pending.get(key), latest.get(key)) for key in keys]

    def failing_marks(self, prefix: str = "", after: str = "", limit: int = 1000) -> list[DirtyKey]:
        """At most `limit` marks whose last attempt failed, in byte order of their keys.

        Raises: LedgerError, LedgerBusy.
        """
        scope = key_range(dirty.c.key, prefix, after, None)
        failing = select(*dirty.columns).where(literal_column("last_error IS NOT NULL"), *scope)
        with self._database.read() as connection:
            found = fetch(connection, failing.order_by(dirty.c.key).limit(limit))
        return list(map(dirty_key, found))


def _keys(
    connection: Connection, table: Table, failing: str, prefix: str, after: str, limit: int
) -> set[bytes]:
    scope = key_range(table.c.key, prefix, after, None)
    statement = select(table.c.key).where(literal_column(failing), *scope)
    return {key for (key,) in fetch(connection, statement.order_by(table.c.key).limit(limit))}


def _keyed(
    connection: Connection, statement: Select[Any], keys: Sequence[bytes]
) -> dict[bytes, Values]:
    found: list[Values] = []
    for part in in_parts(keys):
        found += fetch(connection, statement, keys=list(part))
    return {values[0]: values for values in found}


def _failure(
    key: bytes, row: Values | None, pending: Values | None, latest: Values | None
) -> Failure:
    mark = None if pending is None else dirty_key(pending)
    outcome = None if latest is None else outcome_of(latest)
    seen = (
        outcome.at if outcome else None,
        mark.last_seen if mark else None,
        row[3] if row else None,
    )
    return Failure(
        key=key.decode(),
        state=STATES[row[1]] if row else State.FAILED,
        reason=(mark.last_error if mark else None) or (row[2] if row else None) or "",
        hint=outcome.hint if outcome else None,
        attempts=mark.attempts if mark else 0,
        next_try=max(mark.not_before, mark.last_seen) if mark else None,
        at=next((at for at in seen if at is not None), None),
    )
