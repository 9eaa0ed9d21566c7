"""The planned deletes of runs: what a held run waits to apply, a page at a time."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from datasync.services.storage.ledger.database import Database, Many, fetch
from datasync.services.storage.ledger.tables import encode, planned_deletes

_NAMES = ("run_id", "key", "etag")


class Plans:
    """Reads and drops plans."""

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

    def drop_plan(self, run_id: int) -> None:
        """Forget the planned deletes of a run; `deletes_planned` keeps their number.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.write() as connection:
            forget_plans(connection, [run_id])


def count_plan(
    connection: Connection, database: Database, run_id: int, rows: Sequence[tuple[str, str]]
) -> int:
    """Add keys and ETags to a run's plan; how many it has now."""
    insert = database.insert(planned_deletes)
    changes = {"etag": insert.excluded["etag"]}
    upsert = insert.on_conflict_do_update(index_elements=["run_id", "key"], set_=changes)
    values = {key: (run_id, encode(key), etag) for key, etag in rows}
    Many(upsert, _NAMES).run(connection, list(values.values()))
    plan = select(func.count()).where(planned_deletes.c.run_id == run_id)
    return int(connection.execute(plan).scalar_one())


def forget_plans(connection: Connection, run_ids: Sequence[int]) -> None:
    """Delete the plans of these runs."""
    connection.execute(planned_deletes.delete().where(planned_deletes.c.run_id.in_(run_ids)))
