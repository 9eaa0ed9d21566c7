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
# A key that is not done after so long does not keep others from being handed out, up to a bound.
SLOW_SECONDS = 5.0
IN_HAND_IN_ALL = 5_000
CHECK_SECONDS = 1.0  # between two proofs that the mirror can be written: each makes a file
_AFTER_BREAKAGE_SECONDS = 2.0  # doubled each time, up to:
_LONGEST_SECONDS = 64.0


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
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._workshop = workshop
        self._clock = clock
        self._steady = steady
        self._in_hand: dict[str, float] = {}  # and when they were handed out
        self._not_before = 0.0
        self._checked_at = float("-inf")
        self._breakages = 0  # groups in a row that the ledger did not take
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
            room = self._room()
        if room <= 0 or self._steady() < self._not_before:
            return 0
        if as_of is None:
            due = self._ledger.due(now, room, busy)
        else:
            due = self._ledger.due(as_of.time, room, busy, present=now, made_by=as_of.mark)
        if not due:
            return 0
        if self._steady() - self._checked_at >= CHECK_SECONDS:
            self._mirror.check()  # on a full one, keys that are gone still go
            self._checked_at = self._steady()
        ours = [mark for mark in due if mark.key.startswith(self._options.prefix)]
        if len(ours) < len(due):  # marked before S3_PREFIX was what it is now
            foreign = tuple(m for m in due if not m.key.startswith(self._options.prefix))
            self._ledger.settle(Settlement(cleared=foreign))
        tasks = self._tasks(ours)
        with self._lock:
            self._in_hand.update(dict.fromkeys((task.key for task in tasks), self._steady()))
        self._workshop.submit_urgent(tasks)
        return len(due)

    def settled(self, done: Sequence[Done]) -> bool:
        """Take keys out of hand; whether more may be due now."""
        ours = [item for item in done if item.task.urgent]
        if not ours:
            return False
        with self._lock:
            for item in ours:
                self._in_hand.pop(item.task.key, None)
            if any(item.broken for item in ours):
                # Whatever was fetched is fetched again: not every two seconds for ever.
                pause = min(_LONGEST_SECONDS, _AFTER_BREAKAGE_SECONDS * 2**self._breakages)
                self._not_before = self._steady() + pause
                self._breakages = min(self._breakages + 1, 10)
            elif any(item.outcome for item in ours):
                self._breakages = 0
        return True

    def _room(self) -> int:
        slow_since = self._steady() - SLOW_SECONDS
        slow = sum(handed <= slow_since for handed in self._in_hand.values())
        return min(IN_HAND + slow, IN_HAND_IN_ALL) - len(self._in_hand)

    def _tasks(self, marks: Sequence[DirtyKey]) -> list[Task]:
        rows = self._ledger.get_many([mark.key for mark in marks])
        intact = intact_keys(self._mirror, rows)
        return [self._task(mark, rows.get(mark.key), mark.key in intact) for mark in marks]

    def _task(self, mark: DirtyKey, row: ObjectRow | None, intact: bool) -> Task:
        return Task(mark.key, row=row, mark=mark, urgent=True, intact=intact)
