"""Carries tasks to S3 and back: a few loops, each one thread, and worker processes beside them.

Tasks come out of `queues`, results go out through one callback. Knows no ledger and publishes
nothing.
"""

import time
from collections.abc import Callable, Collection, Sequence

from datasync.errors import Interrupted
from datasync.models.figures import Moving
from datasync.models.sync_models import SyncOptions
from datasync.services.engine.carriers import Carriers
from datasync.services.engine.crew import Crew
from datasync.services.engine.errands import ErrandThreads
from datasync.services.engine.levels import ConcurrencyLevel
from datasync.services.engine.queues import TaskQueues
from datasync.services.engine.tasks import Result, Task
from datasync.services.engine.transfer_loop import TransferLoop
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.mirror import Mirror
from datasync.utils.file_utils import keep_freed_memory

LOOPS = 2
KEPT_BYTES = 16 * 2**20  # the buffers of what is on its way
HASHING_THREADS = 2
PROVING_THREADS = 2
# A question takes as long as S3 does, or for ever: some threads are there for events alone.
ASKING_THREADS, ASKING_RESERVE = 32, 8
ERRAND_SECONDS = 1.0  # that a stop waits for them all
WAIT_SECONDS = 0.25


class TransferPool:
    """The loops and what they share. Results arrive on the loops' threads, in batches.

    Bulk tasks are begun only while `accepting()` says so; `problem` hears of mistakes of ours.
    """

    def __init__(
        self,
        bucket: Bucket,
        mirror: Mirror,
        options: SyncOptions,
        deliver: Callable[[Sequence[Result]], None],
        accepting: Callable[[], bool],
        problem: Callable[[Exception], None],
        *,
        loops: int = LOOPS,
        workers: int = 0,
        seeking: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.bucket = bucket
        self.mirror = mirror
        self.options = options
        self.deliver = deliver
        self.problem = problem
        self.clock = clock
        self.level = ConcurrencyLevel(options.concurrency, clock())
        self.hashing = ErrandThreads("hash", HASHING_THREADS)
        self.asking = ErrandThreads("ask", ASKING_THREADS, ASKING_RESERVE)
        self.proving = ErrandThreads("prove", PROVING_THREADS)  # whole files: nobody waits there
        self._errands = (self.hashing, self.asking, self.proving)
        self.queues = TaskQueues(accepting, clock, seeking)
        self.stopping = False
        self.withdrawn: set[int] = set()  # runs whose work is to end
        self._crew = Crew(self, workers)
        self.carriers = Carriers(bucket, lambda: self.stopping, problem)
        count = min(loops, options.concurrency or loops)
        self._loops = [TransferLoop(self, index, count) for index in range(count)]

    def start(self) -> None:
        keep_freed_memory(KEPT_BYTES)
        for threads in self._errands:
            threads.start()
        self.carriers.begin()
        for loop in self._loops:
            loop.start()

    def stop(self, timeout_seconds: float) -> None:
        """Abandon everything in flight, leave nothing staged, end the threads."""
        self.stopping = True
        self.wake()
        self.carriers.wake()
        deadline = self.clock() + timeout_seconds
        for threads in self._errands:
            threads.stop()
        self._crew.stop(timeout_seconds)
        for loop in self._loops:
            loop.end(max(0.1, deadline - self.clock()))
        self.carriers.join(max(0.1, deadline - self.clock()))
        deadline = min(deadline, self.clock() + ERRAND_SECONDS)
        for threads in self._errands:
            threads.join(max(0.1, deadline - self.clock()))

    def submit(self, tasks: Sequence[Task]) -> None:
        """Queue tasks; never waits."""
        if tasks:
            self.queues.put(tasks)
            self._crew.look()
            if not self.queues.empty:
                idlest_first = sorted(self._loops, key=lambda loop: loop.in_flight)
                for loop in idlest_first[: len(tasks)]:
                    loop.wake()

    def look(self) -> None:
        """What was gathered is all there is."""
        self._crew.look()
        self.wake()

    def wait_for_room(self, interrupted: Callable[[], bool]) -> None:
        """Wait while too many bulk tasks are queued.

        Raises: Interrupted, when the pool stops or `interrupted()` says so; what that raises.
        """
        while self.stopping or not self.queues.wait_for_room(WAIT_SECONDS):
            if self.stopping or interrupted():
                raise Interrupted("the transfer was stopped")

    def recall(self, keys: Collection[str]) -> list[Task]:
        """Take back the queued bulk tasks of these keys."""
        return self.queues.recall(keys)

    def withdraw(self, run_id: int) -> list[Task]:
        """End a run's work: the tasks not begun are given back, those under way come out as
        failed by `Interrupted`, and so do any that follow until `forget`."""
        self.withdrawn.add(run_id)
        tasks = self.queues.withdraw(run_id)
        tasks += self._crew.withdraw(run_id)
        for loop in self._loops:
            loop.withdraw(run_id)
        return tasks

    def forget(self, run_id: int) -> None:
        """The run is over."""
        self.withdrawn.discard(run_id)
        self._crew.forget(run_id)

    def bytes_in_flight(self, run_id: int | None) -> int:
        """Bytes received so far of objects that are not finished."""
        return sum(loop.bytes_in_flight(run_id) for loop in self._loops)

    def moving(self, least_seconds: float, most: int) -> list[Moving]:
        """What has been under way for so long, the longest first; small objects never are."""
        found = [each for loop in self._loops for each in loop.moving(least_seconds)]
        return sorted(found, key=lambda each: each.started)[:most]

    @property
    def turns(self) -> int:
        """How often the loops have turned: a number that stands still is that of ones that hang."""
        return sum(loop.turns for loop in self._loops)

    def fewest_large(self) -> int:
        """How many large objects the loop has that has the fewest."""
        return min(loop.large_active for loop in self._loops)

    def wake(self) -> None:
        for loop in self._loops:
            loop.wake()
