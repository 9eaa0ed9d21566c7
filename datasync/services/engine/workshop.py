"""The transfer and commit stages as one: tasks in, settled keys out, one task a key at a time.

Two looks at one key never overlap: the second waits for the first and starts from its result.
So an older version cannot be committed after a newer one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from datasync.errors import Interrupted
from datasync.models.figures import Moving
from datasync.models.sync_models import (
    ObjectRow,
    Operation,
    Outcome,
    OutcomeStatus,
    RunCounts,
    SyncOptions,
)
from datasync.services.engine.commit import Committer
from datasync.services.engine.crew import worker_count
from datasync.services.engine.group import Done
from datasync.services.engine.outcomes import add, held_file
from datasync.services.engine.spans import EngineSpans
from datasync.services.engine.tasks import Result, Task
from datasync.services.engine.transfer import TransferPool
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror

# Staged files that wait for their commit; beyond it the loops' results hold bulk work back.
BACKLOG = 4_000
WAIT_SECONDS = 0.25
SHOWN_SECONDS, MOST_SHOWN = 1.0, 50  # downloads that take longer are shown, so many of them


class Tally:
    """The counts of one run while it goes on. Safe to use from threads.

    `seeking`: more tasks are likely to come; `sought()` hears when they have all been found.
    """

    def __init__(self, run_id: int, counts: RunCounts, sought: Callable[[], None]) -> None:
        self.run_id = run_id
        self.broken: Exception | None = None
        self.seeking = True
        self._sought = sought
        self._counts = counts
        self._outstanding = 0
        self._changed = threading.Condition()

    @property
    def counts(self) -> RunCounts:
        return self._counts

    def listed(self, keys: int, unchanged: int) -> None:
        with self._changed:
            now = self._counts
            self._counts = replace(
                now, listed=now.listed + keys, unchanged=now.unchanged + unchanged
            )

    def begun(self, tasks: Sequence[Task], drift: int) -> None:
        """These tasks are planned; each must come back through `ended`."""
        nbytes = sum(task.nbytes for task in tasks if task.operation is Operation.DOWNLOAD)
        with self._changed:
            self.seeking = True
            now = self._counts
            self._outstanding += len(tasks)
            self._counts = replace(
                now,
                planned=now.planned + len(tasks),
                bytes_planned=now.bytes_planned + nbytes,
                drift=now.drift + drift,
            )

    def relisted(self) -> None:
        """The listing begins anew."""
        with self._changed:
            self._counts = replace(self._counts, listed=0, unchanged=0)

    def counts_with(self, told: Iterable[Outcome]) -> RunCounts:
        """The counts as they are once these outcomes are recorded."""
        return add(self._counts, told)

    def ended(self, done: Sequence[Done]) -> None:
        told = [item.outcome for item in done if item.outcome is not None]
        broken = next((item.broken for item in done if item.broken), None)
        with self._changed:
            self._counts = self.counts_with(told)
            self._outstanding -= len(done)
            self.broken = self.broken or broken
            self._changed.notify_all()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether nothing is outstanding, after waiting that long at most."""
        if self.seeking:
            self.seeking = False
            self._sought()
        with self._changed:
            return self._changed.wait_for(lambda: self._outstanding == 0, timeout_seconds)


class Workshop:
    """Runs the loops and the committer; tells `settled` of everything that came of tasks."""

    def __init__(
        self,
        bucket: Bucket,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        settled: Callable[[Sequence[Done]], None],
        problem: Callable[[Exception], None],
        spans: EngineSpans | None = None,
    ) -> None:
        self._settled = settled
        # Keys at work, and who waits for each; a queue of its own for every key takes 0.6 kB.
        self._waiting: dict[str, deque[Task] | None] = {}
        self._tallies: dict[int, Tally] = {}
        self._lock = threading.Lock()
        self._committer = Committer(
            mirror,
            ledger,
            self._released,
            self._counts_with,
            problem,
            at_work=self._at_work,
            spans=spans,
        )
        self._pool = TransferPool(
            bucket,
            mirror,
            options,
            self._arrived,
            lambda: self._committer.backlog < BACKLOG,
            problem,
            workers=worker_count(options),
            seeking=self._seeking,
        )

    def start(self) -> None:
        self._committer.start()
        self._pool.start()

    def stop(self, timeout_seconds: float) -> None:
        """Abandon what is on its way, commit what has arrived, end every thread."""
        deadline = time.monotonic() + timeout_seconds
        self._pool.stop(timeout_seconds)
        self._committer.stop(max(0.1, deadline - time.monotonic()))

    def wait(self) -> None:
        """Return when nothing is written any more; a disk may keep the last files long."""
        self._committer.wait()

    def open_tally(self, run_id: int, counts: RunCounts) -> Tally:
        tally = self._tallies[run_id] = Tally(run_id, counts, self._sought)
        return tally

    def close_tally(self, tally: Tally) -> None:
        self._tallies.pop(tally.run_id, None)
        self._pool.forget(tally.run_id)

    def submit_urgent(self, tasks: Sequence[Task]) -> None:
        """Look at keys that an event, or a person, has told of: ahead of all bulk work.

        A bulk task of the same key that is only queued changes places with the urgent one.
        """
        with self._lock:
            begun = self._admit(tasks)
            if len(begun) < len(tasks):
                late = {task.key for task in tasks}.difference(task.key for task in begun)
                begun += map(self._overtaken, self._pool.recall(late))
                self._committer.hurry()
            self._pool.submit(begun)

    def _overtaken(self, queued: Task) -> Task:
        """The urgent task that waits for this one's key, this one now waiting for it."""
        waiting = self._waiting[queued.key]
        assert waiting
        first = waiting.popleft()
        waiting.appendleft(queued)
        return first

    def submit_bulk(
        self, tally: Tally, tasks: Sequence[Task], interrupted: Callable[[], bool], drift: int = 0
    ) -> None:
        """Hand tasks of a run over; waits while too many are queued.

        Raises: Interrupted, and whatever `interrupted` raises; nothing is handed over then.
        """
        self._pool.wait_for_room(interrupted)
        tally.begun(tasks, drift)
        with self._lock:  # whoever finds a key at work finds its task in the queue, or begun
            self._pool.submit(self._admit(tasks))

    def submit_results(
        self, tally: Tally, results: Sequence[Result], interrupted: Callable[[], bool]
    ) -> None:
        """Results that needed no transfer go straight to the commit; waits while that is behind.

        A key at work is being looked at right now: what is known of it here is older, and dropped.

        Raises: Interrupted, and whatever `interrupted` raises; nothing is handed over then.
        """
        while not self._committer.wait_below(BACKLOG, WAIT_SECONDS):
            if interrupted():
                raise Interrupted("the run was stopped")
        with self._lock:
            ours = [result for result in results if result.task.key not in self._waiting]
            self._waiting.update((result.task.key, None) for result in ours)
        tally.begun([result.task for result in ours], 0)
        self._committer.put(ours)

    def _arrived(self, results: Sequence[Result]) -> None:
        """To the commit, which gathers no more where an event waits for one of the keys."""
        self._committer.put(results)
        if any(self._waiting.get(result.task.key) for result in results):
            self._committer.hurry()

    def withdraw(self, run_id: int) -> None:
        """End a run's work early; what is being committed is still committed."""
        self._released([Done(task, None, None) for task in self._pool.withdraw(run_id)])
        with self._lock:
            queues = [queue for queue in self._waiting.values() if queue]
            waiting = [task for queue in queues for task in queue if task.run_id == run_id]
            for queue in queues:
                others = [task for task in queue if task.run_id != run_id]
                queue.clear()
                queue.extend(others)
        self._count_down([Done(task, None, None) for task in waiting])

    def bytes_in_flight(self, run_id: int) -> int:
        return self._pool.bytes_in_flight(run_id)

    def moving(self) -> list[Moving]:
        """Downloads worth showing."""
        return self._pool.moving(SHOWN_SECONDS, MOST_SHOWN)

    def _at_work(self) -> int:
        return BACKLOG if self._seeking() else len(self._waiting)

    def _seeking(self) -> bool:
        """Whether a run is comparing, and more tasks are likely to come."""
        return any(tally.seeking for tally in list(self._tallies.values()))

    def _sought(self) -> None:
        """Nothing more is gathered."""
        self._committer.look()
        self._pool.look()

    def _admit(self, tasks: Sequence[Task]) -> list[Task]:
        """Those that may begin; the others wait for their keys, events ahead of bulk work."""
        admitted = []
        for task in tasks:
            if task.key not in self._waiting:
                self._waiting[task.key] = None
                admitted.append(task)
                continue
            waiting = self._waiting[task.key]
            if waiting is None:
                waiting = self._waiting[task.key] = deque()
            if task.urgent:
                waiting.appendleft(task)
            else:
                waiting.append(task)
        return admitted

    def _counts_with(self, told: Sequence[Outcome]) -> dict[int, RunCounts]:
        by_run: dict[int, list[Outcome]] = {}
        for outcome in told:
            if outcome.run_id is not None:
                by_run.setdefault(outcome.run_id, []).append(outcome)
        tallies = [(self._tallies.get(run_id), list_) for run_id, list_ in by_run.items()]
        return {
            tally.run_id: tally.counts_with(list_) for tally, list_ in tallies if tally is not None
        }

    def _released(self, done: Sequence[Done]) -> None:
        """Committed, or given up: tell of it, and let the next task of each key begin."""
        over = [item for item in done if not item.again]
        following = [_anew(item.task, item.row) for item in done if item.again]
        with self._lock:
            for item in over:
                waiting = self._waiting.get(item.task.key)
                if waiting:
                    following.append(_following(waiting.popleft(), item))
                else:
                    self._waiting.pop(item.task.key, None)
            self._pool.submit(following)
        try:
            self._settled(over)
        finally:
            self._count_down(over)

    def _count_down(self, done: Sequence[Done]) -> None:
        by_run: dict[int, list[Done]] = {}
        for item in done:
            if item.task.run_id is not None:
                by_run.setdefault(item.task.run_id, []).append(item)
        for run_id, items in by_run.items():
            tally = self._tallies.get(run_id)
            if tally is not None:
                tally.ended(items)


def _following(task: Task, before: Done) -> Task:
    """A task that waited, seen from what the one before it found."""
    if before.outcome is not None:
        unproved = _is_unproved(task, before.outcome, before.row)
        _anew(task, before.row)
        file = held_file(before.row)
        task.intact = file is not None and _is_sure(before.task, before.outcome)
        if unproved:
            task.operation, task.found = Operation.ADOPT, file
    elif before.broken is not None:  # the disk may be ahead of what the task knows
        task.intact = False
    return task


def _is_sure(task: Task, outcome: Outcome) -> bool:
    """Whether the file that is held was looked at by the task, or put there by it."""
    looked_at = task.intact and outcome.status is not OutcomeStatus.FAILED
    return looked_at or _is_placed(outcome)


def _is_placed(outcome: Outcome) -> bool:
    placed = outcome.operation in (Operation.DOWNLOAD, Operation.ADOPT)
    return placed and outcome.status is OutcomeStatus.SUCCESS


def _is_unproved(task: Task, outcome: Outcome, row: ObjectRow | None) -> bool:
    """Whether a file that the task was to prove is still there unproved, and still the version."""
    if task.operation is not Operation.ADOPT or _is_placed(outcome) or row is None:
        return False
    return held_file(row) is not None and task.listed is not None and row.etag == task.listed.etag


def _anew(task: Task, row: ObjectRow | None) -> Task:
    """A task that begins again from this row; nobody has looked at its file."""
    task.row, task.found, task.intact, task.refuted = row, None, False, False
    if task.operation is Operation.ADOPT:
        task.operation = Operation.DOWNLOAD
    return task


def intact_keys(mirror: Mirror, rows: Mapping[str, ObjectRow]) -> set[str]:
    """Those of the keys whose file is, by a look at it now, the one its row remembers.

    Raises: MirrorError.
    """
    held = {key: file for key, row in rows.items() if (file := held_file(row)) is not None}
    found = mirror.stat_many([file.path for file in held.values()])
    return {key for (key, file), now in zip(held.items(), found, strict=True) if now == file}
