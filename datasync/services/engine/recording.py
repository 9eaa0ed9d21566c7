"""The ledger's half of the commit: what a group changes, in one transaction or in as few as go.

A group that the ledger refuses is tried in halves, down to the key it cannot take: that one fails
by its name, and no other with it. Knows no disk and no network.
"""

import random
from collections.abc import Callable, Mapping, Sequence

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from datasync.errors import DataSyncError, DiskFull, InternalFault, LedgerBusy, LedgerTaken
from datasync.models.sync_models import (
    DirtyKey,
    ObjectRow,
    Outcome,
    OutcomeStatus,
    RunCounts,
    Settlement,
)
from datasync.services.engine import outcomes
from datasync.services.engine.group import Done, Group
from datasync.services.storage.ledger import Ledger

TRIES = 5
_PASSING = (LedgerBusy, LedgerTaken, DiskFull)  # not the doing of any key


class Recorder:
    """Writes groups into the ledger; remembers files in their places that it could not record.

    `counts` gives the tallies that are saved with outcomes, by run, as they are with those.
    `problem` hears of what nobody foresaw.
    """

    def __init__(
        self,
        ledger: Ledger,
        counts: Callable[[Sequence[Outcome]], dict[int, RunCounts]],
        problem: Callable[[Exception], None],
    ) -> None:
        self._ledger = ledger
        self._counts = counts
        self._problem = problem
        self._owed: dict[str, ObjectRow] = {}
        self._refused: set[str] = set()  # owed, but the ledger does not take them

    @property
    def settled(self) -> bool:
        """Whether nothing is owed but what the ledger does not take."""
        return not self._late()

    def owe(self, rows: Mapping[str, ObjectRow]) -> None:
        """These files are in their places from now on."""
        self._owed.update(rows)

    def rows(self, keys: Sequence[str]) -> dict[str, ObjectRow]:
        """What is known of these keys: what is owed, else what the ledger has.

        Raises: LedgerError, LedgerBusy.
        """
        known = _patiently()(self._ledger.get_many, keys)
        return known | {key: self._owed[key] for key in keys if key in self._owed}

    def record(self, group: Group) -> list[Done]:
        """What came of each task of a group, which is in the ledger now.

        `broken` are those that the ledger could take no word of. The disk is ahead of it until
        then, which is safe; what an earlier group could not record goes with this one.
        """
        for key in group.removed:
            self._owed.pop(key, None)
        group.kept = {**self._late(), **group.kept}
        done: list[Done] = []
        try:
            self._record(group, done)
        except Exception as error:
            over = {item.task.key for item in done}
            left = [item.task for item in group.done if item.task.key not in over]
            done += [Done(task, None, None, error) for task in left]
        return done

    def settle_up(self, now: float) -> None:
        """Record what is still owed, for the last time."""
        if not self.settled:  # the next reconciliation finds and proves what stays owed
            self.record(Group(now, {}))

    def _late(self) -> dict[str, ObjectRow]:
        """What is owed and may still be taken."""
        return {key: row for key, row in self._owed.items() if key not in self._refused}

    def _record(self, part: Group, done: list[Done]) -> None:
        """Add to `done` what is recorded. Raises: what keeps the ledger from being written."""
        try:
            self._write(part, done)
        except _PASSING:
            raise
        except Exception as error:
            halves = part.halves()
            if not halves:
                self._refuse(part, error, done)
            for half in halves:
                self._record(half, done)

    def _write(self, part: Group, done: list[Done]) -> None:
        told = [item.outcome for item in (*done, *part.done) if item.outcome is not None]
        settlement = Settlement(
            rows=tuple(part.kept.values()),
            removed=tuple(part.removed),
            cleared=tuple(part.cleared),
            deferred=tuple(part.deferred),
            outcomes=tuple(item.outcome for item in part.done if item.outcome is not None),
            run_counts=self._counts(told),
            unapproved_deletes=len(part.unapproved),
            at=part.now,
        )
        _patiently()(self._ledger.settle, settlement)
        done += part.done
        for key in part.kept:
            self._owed.pop(key, None)
            self._refused.discard(key)

    def _refuse(self, part: Group, error: Exception, done: list[Done]) -> None:
        """Let the one key of this part fail. A ledger that does not even take that is broken.

        Raises: what keeps the ledger from being written.
        """
        reason = self._reason(error)
        failed = [_failed(item, reason, part) for item in part.done]
        marks = [item.task.mark for item in part.done if item.task.mark is not None]
        self._write(
            Group(part.now, part.rows, deferred=_later(marks, reason, part), done=failed), done
        )
        self._refused.update(key for key in part.kept if key in self._owed)

    def _reason(self, error: Exception) -> DataSyncError:
        if isinstance(error, DataSyncError):
            return error
        self._problem(error)
        return InternalFault(f"it cannot be recorded: unexpected {type(error).__name__}")


def _patiently() -> Retrying:
    """Tries again what a busy ledger did not take, or did not tell."""
    return Retrying(
        retry=retry_if_exception_type(LedgerBusy),
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        reraise=True,
    )


def _later(marks: Sequence[DirtyKey], error: DataSyncError, part: Group) -> list[DirtyKey]:
    return [outcomes.deferred(mark, error, part.now, random.random()) for mark in marks]


def _failed(item: Done, error: DataSyncError, part: Group) -> Done:
    task = item.task
    failed = OutcomeStatus.FAILED
    told = outcomes.outcome(task, task.operation, failed, str(error), part.now, error=error)
    return Done(task, told, part.rows.get(task.key))
