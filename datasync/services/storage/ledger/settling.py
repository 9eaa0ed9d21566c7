"""The engine's commit: everything a group of finished work changes, in one transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam

from datasync.models.sync_models import Settlement
from datasync.services.storage.ledger.activity import add_minutes, minutes_of
from datasync.services.storage.ledger.claim import Claim
from datasync.services.storage.ledger.database import Database, Many, Values
from datasync.services.storage.ledger.dirty import DirtySettling
from datasync.services.storage.ledger.event_figures import outcome_figures
from datasync.services.storage.ledger.figures import (
    add_figures,
    delete_figures,
    figures_of,
    held_figures,
)
from datasync.services.storage.ledger.objects import object_values, upsert_objects
from datasync.services.storage.ledger.outcomes import insert_outcomes, outcome_values
from datasync.services.storage.ledger.runs import put_counts
from datasync.services.storage.ledger.tables import encode, objects


class Settling(Claim):
    """Applies settlements, while the ledger is ours."""

    _database: Database

    def _prepare_settling(self) -> None:
        self._upsert = upsert_objects(self._database)
        self._remove = Many(objects.delete().where(objects.c.key == bindparam("old")), ("old",))
        self._marks = DirtySettling()
        self._insert_outcomes = insert_outcomes()

    def settle(self, settlement: Settlement) -> None:
        """Apply a settlement whole or not at all. A key both removed and given a row has the row.

        Raises: LedgerError, LedgerBusy, DiskFull, RunMissing for counts of an unknown run.
        """
        rows = {row.key: object_values(row) for row in settlement.rows}
        removed = [encode(key) for key in settlement.removed]
        told = list(map(outcome_values, settlement.outcomes))
        changes = outcome_figures(settlement.outcomes)
        changes.update(delete_figures(settlement.unapproved_deletes, settlement.at))
        minutes = minutes_of(settlement.outcomes)
        # Not `durable`: the ledger may lag behind the disk, and a power cut repeats work only.
        with self._database.write(turn="settle") as connection:
            self.require_claim(connection)
            if rows or removed:
                self._replace(connection, list(rows.values()), removed)
            self._marks.settle(connection, self._database, settlement.cleared, settlement.deferred)
            self._insert_outcomes.run(connection, told)
            add_figures(connection, self._database, changes)
            add_minutes(connection, self._database, minutes)
            for run_id, counts in settlement.run_counts.items():
                put_counts(connection, run_id, counts)

    def _replace(
        self, connection: Connection, rows: Sequence[Values], removed: Sequence[bytes]
    ) -> None:
        touched = {values[0] for values in rows}.union(removed)
        change = figures_of([(values[4], values[5] is not None, values[6]) for values in rows])
        change.subtract(held_figures(connection, self._database, sorted(touched)))
        self._remove.run(connection, [(key,) for key in removed])
        self._upsert.run(connection, sorted(rows))
        add_figures(connection, self._database, change)
