"""Worker processes for small downloads, when there are many: one interpreter is not fast enough.

They are started when many wait and end when none have come for a while. What a worker cannot do
is done in this process, and so is everything when there are none: a worker that ends early costs
time only. Knows no ledger and publishes nothing.
"""

import itertools
import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasync.errors import InternalFault
from datasync.models.sync_models import SyncOptions
from datasync.services.engine.levels import MAXIMUM
from datasync.services.engine.mate import FAREWELL_SECONDS, Mate
from datasync.services.engine.parcels import Order
from datasync.services.engine.queues import MANY
from datasync.services.engine.tasks import Task

if TYPE_CHECKING:
    from datasync.services.engine.transfer import TransferPool

MOST_WORKERS = 2  # beyond them the commit, which stays in one process, is what takes the time
LARGE_SECONDS = 300.0  # that events go to no worker, after a burst of what is not small
WORKERS_SHARE = MAXIMUM * 3 // 4  # of the requests in flight, while there are workers
MOST_LOST = 3  # workers that ended early, before no more are started
_guests = itertools.count(1)  # no two of this process have one name in the staging folder


def worker_count(options: SyncOptions) -> int:
    """How many worker processes are worth their memory on this machine, with these options.

    None where the number of requests is fixed: processes do not know of one another's.
    """
    if options.concurrency is not None:
        return 0
    return max(0, min(MOST_WORKERS, len(os.sched_getaffinity(0)) - 1))


class Crew:
    """The workers of a pool. Safe to use from threads; results arrive on threads of its own."""

    def __init__(self, pool: "TransferPool", count: int) -> None:
        self.pool = pool
        self.stopping = False
        self._count = count
        self._lost = 0
        self._large_until = 0.0
        self._lock = threading.Lock()
        self._mates: list[Mate] = []

    def look(self) -> None:
        """Tasks may have come: start workers when there are many, wake those there are."""
        with self._lock:
            if not self._mates and not self.stopping and self._waiting() >= MANY:
                self._begin()
            mates = list(self._mates)
        for mate in mates:
            mate.wake()

    def _waiting(self) -> int:
        queues = self.pool.queues
        return queues.light + (queues.burst if self._has_events() else 0)

    def _has_events(self) -> bool:
        return time.monotonic() >= self._large_until

    def _begin(self) -> None:
        count = self._count  # the first of them may find that all are useless
        try:
            for _ in range(count):
                mate = Mate(self, next(_guests), WORKERS_SHARE // count)
                mate.start()
                self._mates.append(mate)
        except (OSError, RuntimeError) as error:  # no descriptors, or no threads: done without
            self._count = 0
            self.pool.problem(InternalFault(f"no transfer worker can be started: {error}"))
        self._review()

    def withdraw(self, run_id: int) -> list[Task]:
        """Take back the tasks of a run; what still comes of them is dropped."""
        return [task for mate in self._all() for task in mate.withdraw(run_id)]

    def forget(self, run_id: int) -> None:
        """The run is over."""
        for mate in self._all():
            mate.tell(Order(forget=run_id))

    def stop(self, timeout_seconds: float) -> None:
        """Begin nothing more, end every worker; what it has not handed over is removed."""
        self.stopping = True
        deadline = time.monotonic() + min(timeout_seconds, 2 * FAREWELL_SECONDS)
        mates = self._all()
        for mate in mates:
            mate.wake()
        for mate in mates:
            mate.join(max(0.1, deadline - time.monotonic()))

    def _all(self) -> list[Mate]:
        with self._lock:
            return list(self._mates)

    # What the mates tell

    def ready(self) -> None:
        """A worker is there: what is better done by one is kept for it, and so are requests."""
        with self._lock:
            self._review()
        self.pool.level.bound(MAXIMUM - WORKERS_SHARE)

    def too_large(self) -> None:
        """The events that come now are not for workers."""
        with self._lock:
            self._large_until = time.monotonic() + LARGE_SECONDS
            self._review()
        self.pool.wake()

    def useless(self) -> None:
        """Nobody else can read this bucket."""
        self._count = 0

    def over(self, mate: Mate, left: Sequence[Task], *, lost: bool) -> None:
        """A worker has ended: what it has not done is done here."""
        with self._lock:
            self._mates.remove(mate)
            self._lost += lost
            if self._lost >= MOST_LOST:
                self._count = 0
            self._review()
            if not self._mates:
                self.pool.level.bound(MAXIMUM)
        self.give_back(left)

    def retired(self) -> None:
        """A worker takes nothing more: with no other there, light tasks are the loops' again."""
        with self._lock:
            self._review()
        self.pool.wake()

    def _review(self) -> None:
        """Keep for workers what is theirs, as long as one is there that takes it."""
        queues = self.pool.queues
        queues.awaited = any(not mate.retired for mate in self._mates)
        queues.reserved = any(mate.serves for mate in self._mates)
        queues.bursts_reserved = queues.reserved and self._has_events()

    def give_back(self, tasks: Sequence[Task]) -> None:
        """What a worker could not do is for the loops of this process."""
        for task in tasks:
            task.here = True
        self.pool.queues.put(tasks)
        self.pool.wake()
