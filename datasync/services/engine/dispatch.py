"""Hands dirty keys to the workshop, a bounded number at a time, events ahead of bulk work."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datasync.models.sync_models import DirtyKey, ObjectRow, Settlement, SyncOptions
from datasync.services.engine.group import Done
from datasync.services.engine.tasks import Task
from datasync.services.engine.workshop import Workshop, intact_keys
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror

IN_HAND = 1_000
_AFTER_BREAKAGE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The seconds since the epoch, and the latest mark: its number, as clocks may be set back."""

    time: float
    mark: int


class Dispatcher:
    """Knows which dirty keys are in hand, so that none is handed out twice at once."""

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        workshop: Workshop,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._workshop = workshop
        self._clock = clock
        self._in_hand: set[str] = set()
        self._not_before = 0.0
        self._lock = threading.Lock()

    @property
    def in_hand(self) -> int:
        return len(self._in_hand)

    def dispatch(self, as_of: Moment | None = None) -> int:
        """Hand out what is due, up to the bound; how many were due.

        With `as_of` only marks made by then, and due by then.

        Raises: LedgerError, MirrorError.
        """
        now = self._clock()
        with self._lock:
            busy = frozenset(self._in_hand)
        room = IN_HAND - len(busy)
        if room <= 0 or now < self._not_before:
            return 0
        due = self._ledger.due(now if as_of is None else as_of.time, room, busy, now)
        if as_of is not None:  # the oldest come first: those made later are behind them all
            due = [mark for mark in due if mark.marks <= as_of.mark]
        if not due:
            return 0
        self._mirror.check()
        ours = [mark for mark in due if mark.key.startswith(self._options.prefix)]
        if len(ours) < len(due):  # marked before S3_PREFIX was what it is now
            foreign = tuple(m for m in due if not m.key.startswith(self._options.prefix))
            self._ledger.settle(Settlement(cleared=foreign))
        tasks = self._tasks(ours)
        with self._lock:
            self._in_hand.update(task.key for task in tasks)
        self._workshop.submit_urgent(tasks)
        return len(due)

    def settled(self, done: Sequence[Done]) -> bool:
        """Take keys out of hand; whether more may be due now."""
        ours = [item for item in done if item.task.urgent]
        if not ours:
            return False
        with self._lock:
            self._in_hand.difference_update(item.task.key for item in ours)
            if any(item.broken for item in ours):
                self._not_before = self._clock() + _AFTER_BREAKAGE_SECONDS
        return True

    def _tasks(self, marks: Sequence[DirtyKey]) -> list[Task]:
        rows = self._ledger.get_many([mark.key for mark in marks])
        intact = intact_keys(self._mirror, rows)
        return [self._task(mark, rows.get(mark.key), mark.key in intact) for mark in marks]

    def _task(self, mark: DirtyKey, row: ObjectRow | None, intact: bool) -> Task:
        return Task(mark.key, row=row, mark=mark, urgent=True, intact=intact)
