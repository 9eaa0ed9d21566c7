"""One thread that carries objects: a channel, the tasks it has begun, and what came of them.

The only place that retries an object. Knows no ledger and publishes nothing.
"""

import heapq
import itertools
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasync.errors import (
    DataSyncError,
    InternalFault,
    SlowDown,
    TransferStalled,
)
from datasync.models.figures import Moving
from datasync.models.sync_models import ObjectRequest, Operation, Verdict
from datasync.services.engine.carriers import Carried
from datasync.services.engine.channel_thread import ChannelThread
from datasync.services.engine.errands import ErrandThreads, Then, Work
from datasync.services.engine.fetch import Fetch
from datasync.services.engine.integrity import LARGE_BYTES
from datasync.services.engine.levels import MAXIMUM, pause_seconds
from datasync.services.engine.proving import Proving
from datasync.services.engine.tasks import Found, Result, Task, run_ended
from datasync.services.storage.channel import Answer, Receiver

if TYPE_CHECKING:
    from datasync.services.engine.transfer import TransferPool

# Events may go beyond the level by this many requests, so that they never wait for bulk work.
URGENT_RESERVE = 8
# A request that has been silent for so long is not work that an event should wait for: so many
# of them, in one loop, leave their places to events. A channel has connections for them all.
SILENT_SECONDS = 2.0
SILENT_REQUESTS = MAXIMUM // 2
# With more of them than that, events wait after all: those silent for so long are given up then,
# and looked at again later.
PRESSED_SECONDS = 20.0
_IDLE_SECONDS = 5.0
AGAIN_SECONDS = 0.1  # between two looks whether a burst is not taken by a worker


class TransferLoop(ChannelThread):
    """One thread, one channel, many objects: the `Courier` of its fetches."""

    def __init__(self, pool: "TransferPool", index: int, loops: int) -> None:
        channel = pool.bucket.channel(MAXIMUM + URGENT_RESERVE)
        super().__init__(f"transfer-{index}", channel, lambda: pool.stopping, pool.problem)
        self.bucket = pool.bucket
        self.mirror = pool.mirror
        self.options = pool.options
        self._pool = pool
        self._loops = loops
        self._active: set[Fetch] = set()
        self._ranges: set[Carried] = set()  # of them, carried by other threads
        self._arrived: set[Fetch] = set()  # of those, what waits for other threads only
        self._bulk_active = 0
        self._large_active = 0
        self._proving = Proving(
            pool.bucket,
            pool.mirror,
            self,
            lambda work, then: self._elsewhere(pool.proving, work, then),
            lambda work, then: self._elsewhere(pool.asking, work, then),
            lambda run_id: pool.stopping or run_id in pool.withdrawn,
            pool.problem,
        )
        self._silent = 0  # objects of which nothing has arrived for a while
        self._taken: deque[Task] = deque()  # from the pool, not begun yet
        self._to_prove: deque[Sequence[Task]] = deque()  # the same
        self._later: list[tuple[float, int, Task]] = []
        self._order = itertools.count()
        self._results: list[Result] = []
        self._expire_at = 0.0
        self.turns = 0
        self._roomy = False  # there is room for what is begun now
        # Before the answers of a turn: from far away they come in bursts, and leave few behind.
        self._begun_in_flight = 0

    # From any thread

    def bytes_in_flight(self, run_id: int | None) -> int:
        fetches = self._active.copy()  # atomic under the interpreter lock
        return sum(fetch.bytes_received for fetch in fetches if fetch.task.run_id == run_id)

    def moving(self, least_seconds: float) -> list[Moving]:
        """The objects that have been under way for so long, seen from any thread."""
        now, present = self.now(), time.time()
        return [
            Moving(
                fetch.task.key,
                fetch.head.size if fetch.head is not None else None,
                fetch.bytes_received,
                present - (now - fetch.started),
                fetch.task.run_id,
            )
            for fetch in self._active.copy()  # atomic under the interpreter lock
            if now - fetch.started >= least_seconds
        ]

    @property
    def in_flight(self) -> int:
        """How many places are taken by what is under way, seen from any thread."""
        return self.channel.in_flight + len(self._ranges) + len(self._arrived)

    @property
    def large_active(self) -> int:
        """How many objects it has that come in ranges, or will."""
        return self._large_active

    def withdraw(self, run_id: int) -> None:
        """Give up a run's tasks; safe from any thread."""
        self.post(lambda: self._withdraw(run_id))

    def _withdraw(self, run_id: int) -> None:
        stopped = run_ended()
        for fetch in [fetch for fetch in self._active if fetch.task.run_id == run_id]:
            fetch.failed(stopped)
        self._proving.withdraw(run_id)
        waiting = [entry[2] for entry in self._later if entry[2].run_id == run_id]
        self._later = [entry for entry in self._later if entry[2].run_id != run_id]
        heapq.heapify(self._later)
        self._results.extend(Result(task, Found.FAILED, error=stopped) for task in waiting)

    # The thread

    def _turn(self) -> None:
        self.turns += 1
        self._run_posted()
        self._begin_tasks()
        for answer in self.channel.poll(self._wait_seconds()):
            self._answered(answer)
        self._expire()
        if self._results:
            results, self._results = self._results, []
            self._pool.deliver(results)

    def _begin_tasks(self) -> None:
        now = self.now()
        while self._later and self._later[0][0] <= now:
            self._begin(heapq.heappop(self._later)[2])
        share = -(-self._pool.level.current // self._loops)
        room = share - self.in_flight
        room -= self._more_ranges(room)
        idle = min(self._silent + len(self._arrived), SILENT_REQUESTS)
        urgent_room = room + URGENT_RESERVE + idle
        bulk_share = max(1, share // 4) - self._bulk_active
        large = self._pool.fewest_large() + 1 - self.large_active
        taken = self._pool.queues.take(urgent_room, room, bulk_share, large)
        if taken:
            self._taken.extend(taken)
            self._roomy = self._has_room(taken)
        while self._taken:  # those behind one that fails to begin have the next turn
            self._begin(self._taken.popleft())
        self._roomy = False
        self._proving.allow(share)
        self._to_prove.extend(self._pool.queues.take_proofs(self._proving.room))
        while self._to_prove:
            self._prove(self._to_prove.popleft())
        self._begun_in_flight = self.in_flight

    def _more_ranges(self, room: int) -> int:
        started = 0
        for fetch in [fetch for fetch in self._active if fetch.large]:
            started += fetch.more(room - started)
        return started

    def _begin(self, task: Task) -> None:
        task.started = task.started or self.now()
        if task.to_prove:
            self._prove([task])
        else:
            self._fetch(task)

    def _prove(self, errand: Sequence[Task]) -> None:
        for task in errand:
            task.started = task.started or self.now()
        self._proving.prove(errand)

    def _fetch(self, task: Task) -> None:
        if task.run_id in self._pool.withdrawn:
            self._results.append(Result(task, Found.FAILED, error=run_ended()))
            return
        if not self._roomy and _needs_room(task):
            try:
                self.mirror.require_room(task.nbytes)
            except DataSyncError as error:
                self._results.append(Result(task, Found.FAILED, error=error))
                return
        fetch = Fetch(task, self)
        self._active.add(fetch)
        self._bulk_active += not task.urgent
        self._large_active += task.nbytes > LARGE_BYTES
        fetch.start()

    def _has_room(self, tasks: Sequence[Task]) -> bool:
        """Whether there is room for them all, so that nobody need ask for each of them."""
        try:
            self.mirror.require_room(sum(task.nbytes for task in tasks if _needs_room(task)))
        except DataSyncError:
            return False
        return True

    def _leave(self, fetch: Fetch) -> None:
        if fetch in self._active:
            self._active.remove(fetch)
            self._arrived.discard(fetch)
            self._bulk_active -= not fetch.task.urgent
            self._large_active -= fetch.task.nbytes > LARGE_BYTES

    def looked_at(self, task: Task, verdict: Verdict | None) -> None:
        """Keep what is proved, and what cannot be proved but is as we left it; fetch the rest."""
        if verdict is None or (verdict is Verdict.SIZE and not task.intact):
            task.intact, task.refuted = False, True
            if task.urgent:
                self._fetch(task)
            else:
                self._pool.submit([task])  # to have its turn: it may be one of very many
            return
        seconds = self.now() - task.started
        self._results.append(
            Result(task, Found.ADOPTED, file=task.found, verdict=verdict, seconds=seconds)
        )

    def _answered(self, answer: Answer) -> None:
        fetch = answer.token
        assert isinstance(fetch, Fetch)
        self._regulate(answer)
        fetch.answered(answer)

    def range_answered(self, carried: Carried, answer: Answer) -> None:
        """A range of an object of this loop is over; safe from any thread."""
        self.post(lambda: self._range_answered(carried, answer))

    def _range_answered(self, carried: Carried, answer: Answer) -> None:
        self._ranges.remove(carried)
        if not carried.dropped:
            assert isinstance(carried.token, Fetch)
            self._regulate(answer)
            carried.token.answered(answer)

    def _regulate(self, answer: Answer) -> None:
        """Let the level of requests follow what became of one."""
        if isinstance(answer.error, SlowDown):
            self._pool.level.slow_down(self.now())
        elif answer.head is not None:
            nbytes = answer.head.length if answer.request.method == "GET" else 0
            in_flight = self._begun_in_flight * self._loops
            self._pool.level.completed(nbytes, self.now(), in_flight=in_flight)

    def _wait_seconds(self) -> float:
        if self._posted or self._results:
            return 0.0
        until = self._later[0][0] - self.now() if self._later else _IDLE_SECONDS
        idle = not self._active and self._proving.idle
        if idle and not self._pool.queues.empty:  # the commit is behind: look again soon
            return max(0.0, min(until, 0.02))
        longest = AGAIN_SECONDS if self._pool.queues.bursts_reserved else 1.0
        return max(0.0, min(until, longest))

    def _expire(self) -> None:
        """Give up small objects that take too long as a whole; large ones only when they stall."""
        now = self.now()
        if now < self._expire_at:
            return
        self._expire_at = now + 1.0
        silent = {fetch: fetch.silent_seconds(now) for fetch in self._active}
        quiet = {fetch for fetch, seconds in silent.items() if seconds >= SILENT_SECONDS}
        self._silent = len(quiet - self._arrived)
        if len(quiet) > SILENT_REQUESTS and self._pool.queues.fresh_wait:
            self._make_room(silent)
        limit = self.options.timeout_seconds
        for fetch in [f for f in self._active - self._arrived if now - f.started > limit]:
            if fetch.head is None or fetch.head.size <= LARGE_BYTES:
                fetch.failed(
                    TransferStalled(f"{fetch.task.key!r}: not complete after {limit:g} seconds")
                )

    def _make_room(self, silent: dict[Fetch, float]) -> None:
        for fetch, seconds in silent.items():
            if fetch.task.urgent and seconds >= PRESSED_SECONDS:
                fetch.task.failures = self.options.attempts  # here; its mark stays
                stalled = f"{fetch.task.key!r}: nothing for {seconds:.0f} seconds, and others wait"
                fetch.failed(TransferStalled(stalled))

    def _fail_all(self, fault: InternalFault) -> None:
        for fetch in self._active.copy():
            fetch.abandon()
            self._leave(fetch)
            self._results.append(Result(fetch.task, Found.FAILED, error=fault))

    def _end(self) -> None:
        try:
            if self._results:
                self._pool.deliver(self._results)
        finally:
            for fetch in self._active:
                fetch.abandon()
            self._active.clear()
            self.channel.close()

    # Courier

    def now(self) -> float:
        return self._pool.clock()

    def hash(self, work: Work, then: Then, *, urgent: bool) -> None:
        self._elsewhere(self._pool.hashing, work, then, urgent)

    def ask(self, work: Work, then: Then, *, urgent: bool) -> None:
        self._elsewhere(self._pool.asking, work, then, urgent)

    def start_range(self, request: ObjectRequest, receiver: Receiver, fetch: Fetch) -> None:
        self._ranges.add(self._pool.carriers.start(request, receiver, fetch, self))

    def cancel(self, fetch: Fetch) -> None:
        self.channel.cancel(fetch)
        if fetch.large:
            for carried in self._ranges:
                if carried.token is fetch and not carried.dropped:
                    carried.drop()  # it keeps its place until it is

    def arrived(self, fetch: Fetch) -> None:
        self._arrived.add(fetch)

    def _elsewhere(
        self, threads: ErrandThreads, work: Work, then: Then, urgent: bool = False
    ) -> None:
        def done(error: Exception | None) -> None:
            if isinstance(error, SlowDown):
                self._posted.append(lambda: self._pool.level.slow_down(self.now()))
            self.post(lambda: then(error))

        threads.submit(work, done, urgent=urgent)

    def problem(self, error: Exception) -> None:
        self._problem(error)

    def finish(self, fetch: Fetch, result: Result) -> None:
        self._leave(fetch)
        self._results.append(result)

    def fail(self, fetch: Fetch, error: DataSyncError) -> None:
        self._leave(fetch)
        self.retry(fetch.task, error)

    def retry(self, task: Task, error: DataSyncError) -> None:
        task.failures += 1
        if error.retryable and task.failures < self.options.attempts:
            pause = pause_seconds(error, task.failures, random.random())
            heapq.heappush(self._later, (self.now() + pause, next(self._order), task))
        else:
            seconds = self.now() - task.started
            self._results.append(Result(task, Found.FAILED, error=error, seconds=seconds))


def _needs_room(task: Task) -> bool:
    """Whether an object that would not fit is not even asked for: a run may have very many.

    An event's key is asked for all the same: it may be gone.
    """
    return not task.urgent and task.listed is not None and task.operation is not Operation.DELETE
