"""The planned deletes of runs: what a held run waits to apply, a page at a time."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from datasync.services.storage.ledger.database import Database, Many, fetch
from datasync.services.storage.ledger.tables import encode, planned_deletes

PIECE = 10_000
_NAMES = ("run_id", "key", "etag")


class Plans:
    """Reads plans."""

    _database: Database

    def planned_deletes(
        self, run_id: int, after: str = "", limit: int = 1000
    ) -> list[tuple[str, str]]:
        """At most `limit` planned keys of a run with the ETag held, in byte order past `after`.

        Raises: LedgerError, LedgerBusy.
        """
        plan = planned_deletes.c
        statement = select(plan.key, plan.etag).where(plan.run_id == run_id)
        if after:
            statement = statement.where(plan.key > encode(after))
        with self._database.read() as connection:
            found = fetch(connection, statement.order_by(plan.key).limit(limit))
        return [(key.decode(), etag) for key, etag in found]


def add_to_plan(
    connection: Connection, database: Database, run_id: int, rows: Sequence[tuple[str, str]]
) -> int:
    """Add keys and ETags to a run's plan; how many of the keys were not in it."""
    insert = database.insert(planned_deletes)
    changes = {"etag": insert.excluded["etag"]}
    upsert = insert.on_conflict_do_update(index_elements=["run_id", "key"], set_=changes)
    values = {key: (run_id, encode(key), etag) for key, etag in rows}
    plan = planned_deletes.c
    keys = [key for _, key, _ in values.values()]
    known = select(func.count()).where(plan.run_id == run_id, plan.key.in_(keys))
    new = len(values) - int(connection.execute(known).scalar_one())
    Many(upsert, _NAMES).run(connection, list(values.values()))
    return new


def drop_in_pieces(database: Database, run_id: int) -> None:
    """Delete a run's plan, however large, without keeping others from writing for long."""
    plan = planned_deletes.c
    piece = select(plan.key).where(plan.run_id == run_id).limit(PIECE)
    statement = planned_deletes.delete().where(plan.run_id == run_id, plan.key.in_(piece))
    left = True
    while left:
        with database.write() as connection:
            left = connection.execute(statement).rowcount >= PIECE


def forget_plans(connection: Connection, run_ids: Sequence[int]) -> None:
    """Delete the plans of these runs."""
    connection.execute(planned_deletes.delete().where(planned_deletes.c.run_id.in_(run_ids)))
