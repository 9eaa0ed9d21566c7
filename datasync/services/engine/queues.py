"""The tasks that wait for a transfer loop: events ahead of bulk work, files to prove apart.

Of the events those that are looked at for the first time go ahead of those that failed before.
Small downloads of a run are light: worker processes take them, where there are any. They take
events as well, when very many come at once.

Knows no loop, no bucket and no disk.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence

from datasync.models.sync_models import Operation
from datasync.services.engine.integrity import LARGE_BYTES
from datasync.services.engine.tasks import Task

BULK_QUEUE = 2_000
# An object of so many bytes costs the interpreter little beside hashing and writing, which other
# threads need not wait for: the loops take it although there are workers.
SHARED_BYTES = 64 * 1024
FRESH_RESERVE = 4
TOGETHER = 32  # small files that are proved in one go
MANY = 400  # tasks for a worker that wait: fewer are done before it has started
PORTION = 64  # that a worker is given together, where so many wait
# That a light task waits for others, while there may be more; a loop or a worker that rests may
# see it as much later.
GATHER_SECONDS = 1.0
BURST = 32  # events beyond this number are worth the way to a worker and back
TAKEN_SECONDS = 0.25  # a burst of which no worker has taken for so long is the loops' as well
LIGHT_SHARE = 4  # one in so many of what a worker is given is no event, where both wait


class TaskQueues:
    """Six queues. Safe to use from threads.

    Bulk tasks, light ones and files to prove among them, are given out only while `accepting()`
    says so. While `reserved`, light ones are the workers', and only the largest of them shared.
    While `bursts_reserved`, so are events, as long as more than BURST of them wait and a worker
    takes of them.

    While `seeking()` says that a run is likely to bring more light tasks, a few of them are kept
    together for GATHER_SECONDS, and for a worker that is `awaited` some more: to begin some after
    every page of the listing makes the comparison wait for the interpreter each time.
    """

    def __init__(
        self,
        accepting: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        seeking: Callable[[], bool] = lambda: False,
    ) -> None:
        self._accepting = accepting
        self._seeking = seeking
        self._clock = clock
        self._urgent: deque[Task] = deque()  # the loops' alone
        self._fresh: deque[Task] = deque()  # events that a worker may have
        self._again: deque[Task] = deque()
        self._bulk: deque[Task] = deque()
        self._light: deque[Task] = deque()
        self._proofs: deque[Task] = deque()
        self._changed = threading.Condition()
        self.reserved = False
        self.bursts_reserved = False
        self.awaited = False  # there is a worker, or one is starting
        self._light_at = 0.0  # when light tasks began to wait
        self._burst_at = 0.0  # when the burst began, or a worker took of it last

    @property
    def empty(self) -> bool:
        """Whether nothing waits for the loops of this process."""
        with self._changed:
            others = self._urgent or self._again or self._bulk or self._proofs
            events = self._fresh and not self._is_reserved_burst()
            return not (others or events or (self._light and self._is_ours(self._light[0])))

    @property
    def light(self) -> int:
        """How many light tasks wait."""
        return len(self._light)

    @property
    def burst(self) -> int:
        """How many events wait that a worker may have; 0 when they are no burst."""
        waiting = len(self._fresh)
        return waiting if waiting > BURST else 0

    @property
    def offered(self) -> int:
        """How many tasks wait for the workers that there are."""
        light = 0 if self._is_gathering(PORTION) else self.light
        return light + (self.burst if self.bursts_reserved else 0)

    @property
    def fresh_wait(self) -> bool:
        """Whether urgent tasks wait for the loops that no attempt was made for yet."""
        return bool(self._urgent or (self._fresh and not self._is_reserved_burst()))

    def put(self, tasks: Sequence[Task]) -> None:
        """Queue tasks, each behind its own kind; never waits."""
        with self._changed:
            quiet = not self.burst
            if not self._light:
                self._light_at = self._clock()
            for task in tasks:
                self._queue_of(task).append(task)
            if quiet:
                self._burst_at = self._clock()

    def wait_for_room(self, timeout_seconds: float) -> bool:
        """Whether bulk tasks may be put now, after waiting that long at most."""
        with self._changed:
            return self._changed.wait_for(self._has_room, timeout_seconds)

    def take(self, urgent_room: int, room: int, bulk_share: int, large: int) -> list[Task]:
        """Urgent tasks up to `urgent_room`, then bulk ones in what is left of `room`.

        Those that failed before leave FRESH_RESERVE of the places to those that did not.
        Bulk work may always have `bulk_share` more, so that a stream of events cannot starve it.
        Of large objects there are `large` at most: those that follow wait for a loop that has
        fewer of them.
        """
        with self._changed:
            if self._is_reserved_burst():
                taken = _pop(self._urgent, urgent_room)
            else:
                taken = _pop_oldest(self._urgent, self._fresh, urgent_room)
            taken += _pop(self._again, urgent_room - len(taken) - FRESH_RESERVE)
            if self._accepting():
                full = not self._has_room()
                share = max(room - len(taken), bulk_share)
                bulk = _pop_bulk(self._bulk, share, large)
                bulk += self._pop_light(share - len(bulk))
                taken += bulk
                self._tell_room(full)
        return taken

    def take_proofs(self, errands: int) -> list[list[Task]]:
        """Files to prove, for so many errands: one each, or many small ones together.

        They need no room among the requests.
        """
        with self._changed:
            if errands <= 0 or not self._proofs or not self._accepting():
                return []
            full = not self._has_room()
            taken = [self._errand() for _ in range(errands) if self._proofs]
            self._tell_room(full)
        return taken

    def _errand(self) -> list[Task]:
        tasks = [self._proofs.popleft()]
        while self._proofs and len(tasks) < TOGETHER:
            if max(tasks[0].nbytes, self._proofs[0].nbytes) > SHARED_BYTES:
                break
            tasks.append(self._proofs.popleft())
        return tasks

    def take_light(self, room: int, events: int = 0) -> list[Task]:
        """Up to `room` tasks for a worker: of a burst up to `events`, and light ones.

        A part of the room is left to those, so that a stream of events cannot starve them.
        """
        with self._changed:
            taken: list[Task] = []
            if self.bursts_reserved and self.burst and events > 0:
                light = min(len(self._light), room // LIGHT_SHARE) if self._accepting() else 0
                taken = _pop(self._fresh, min(events, room - light))
                self._burst_at = self._clock()
            if self._accepting():
                full = not self._has_room()
                taken += _pop(self._light, room - len(taken))
                self._tell_room(full)
        return taken

    def recall(self, keys: Collection[str]) -> list[Task]:
        """Take back the bulk tasks of these keys that no loop has taken."""
        return self._take_out(lambda task: task.key in keys) if keys else []

    def withdraw(self, run_id: int) -> list[Task]:
        """Take back the tasks of a run that no loop has taken."""
        return self._take_out(lambda task: task.run_id == run_id)

    def _pop_light(self, count: int) -> list[Task]:
        """For the loops: while workers are there, only what takes more hashing than handling."""
        taken: list[Task] = []
        while len(taken) < count and self._light and self._is_ours(self._light[0]):
            taken.append(self._light.popleft())
        return taken

    def _is_reserved_burst(self) -> bool:
        reserved = self.bursts_reserved and self.burst > 0
        return reserved and self._clock() - self._burst_at < TAKEN_SECONDS

    def _is_ours(self, light: Task) -> bool:
        if self.reserved:
            return light.nbytes >= SHARED_BYTES
        return not self._is_gathering(2 * MANY if self.awaited else MANY)

    def _is_gathering(self, worthwhile: int) -> bool:
        """Whether the light tasks wait until there are more that make them `worthwhile`."""
        few = len(self._light) < worthwhile
        return few and self._clock() - self._light_at < GATHER_SECONDS and self._seeking()

    def _queue_of(self, task: Task) -> deque[Task]:
        if task.urgent:
            if task.mark is not None and task.mark.attempts > 0:
                return self._again
            return self._fresh if _is_portable(task) else self._urgent
        if task.to_prove:
            return self._proofs
        return self._light if _is_light(task) else self._bulk

    def _tell_room(self, was_full: bool) -> None:
        if was_full and self._has_room():
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._bulk) + len(self._light) + len(self._proofs) < BULK_QUEUE

    def _take_out(self, chosen: Callable[[Task], bool]) -> list[Task]:
        found: list[Task] = []
        with self._changed:
            for queue in (self._bulk, self._light, self._proofs):
                kept = [task for task in queue if not chosen(task)]
                if len(kept) < len(queue):
                    found += filter(chosen, queue)
                    queue.clear()
                    queue.extend(kept)
            self._changed.notify_all()
        return found


def _is_portable(event: Task) -> bool:
    """Whether a worker may look at it, by what is known of it so far."""
    known = event.row.size if event.row is not None else 0
    plain = event.operation is Operation.DOWNLOAD and event.listed is None
    return plain and known <= SHARED_BYTES and not event.here


def _is_light(task: Task) -> bool:
    small = task.listed is not None and task.nbytes <= LARGE_BYTES
    return small and task.operation is Operation.DOWNLOAD and not task.here


def _pop_bulk(queue: deque[Task], count: int, large: int) -> list[Task]:
    taken: list[Task] = []
    while queue and len(taken) < count:
        large -= queue[0].nbytes > LARGE_BYTES
        if large < 0:
            break
        taken.append(queue.popleft())
    return taken


def _pop(queue: deque[Task], count: int) -> list[Task]:
    return [queue.popleft() for _ in range(max(0, min(count, len(queue))))]


def _pop_oldest(one: deque[Task], other: deque[Task], count: int) -> list[Task]:
    """Of two queues of events, those that were told of first."""
    taken: list[Task] = []
    while len(taken) < count and (one or other):
        first = one if one and (not other or _told(one[0]) <= _told(other[0])) else other
        taken.append(first.popleft())
    return taken


def _told(event: Task) -> float:
    return event.mark.first_seen if event.mark is not None else 0.0
