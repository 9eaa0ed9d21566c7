"""Files that are there before us, proved for a loop by other threads.

Many small ones go in one errand: handing each over by itself would cost more than reading it.
Knows no ledger, and asks S3 only for what the listing cannot tell.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from datasync.errors import BucketError, DataSyncError, InternalFault
from datasync.models.sync_models import FileStat, ListedObject, Verdict
from datasync.services.engine.errands import Then, Work
from datasync.services.engine.integrity import Expectation, expect_listed
from datasync.services.engine.proof import offered, prove_listed, prove_offered
from datasync.services.engine.tasks import Task, run_ended
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.mirror import Mirror

# So many errands wait for a proving thread at most: an event may take back files that queue.
PROOFS_AHEAD = 4
QUESTIONS_AHEAD = 12  # S3 may be far away


class Hearer(Protocol):
    """The loop whose files they are; it hears on its own thread."""

    def looked_at(self, task: Task, verdict: Verdict | None) -> None:
        """What the proof of a file came to; None: it is another file, or cannot be proved."""

    def retry(self, task: Task, error: DataSyncError) -> None:
        """There was no proof this time."""


@dataclass(slots=True)
class Proving:
    """The errands of one loop: `hash` and `ask` have work done by other threads, and call back.

    `stopped(run_id)` says whether nobody wants it any more; `problem` hears of mistakes of ours.
    """

    bucket: Bucket
    mirror: Mirror
    hearer: Hearer
    hash: Callable[[Work, Then], None]
    ask: Callable[[Work, Then], None]
    stopped: Callable[[int | None], bool]
    problem: Callable[[Exception], None]
    errands: int = 0  # under way
    asked: set[Task] = field(default_factory=set)  # those that wait for an answer of S3
    unasked: deque[Task] = field(default_factory=deque)  # those that wait for others' answers
    _most_questions: int = QUESTIONS_AHEAD

    @property
    def room(self) -> int:
        """How many errands more it may be given."""
        return 0 if self.unasked else PROOFS_AHEAD - self.errands

    @property
    def idle(self) -> bool:
        return not (self.errands or self.asked or self.unasked)

    def allow(self, questions: int) -> None:
        """Ask so many questions at once, and no more than QUESTIONS_AHEAD."""
        self._most_questions = min(questions, QUESTIONS_AHEAD)
        self._ask_more()

    def withdraw(self, run_id: int) -> None:
        """Give up a run's questions; its errands see for themselves that it is over."""
        given_up = [task for task in (*self.asked, *self.unasked) if task.run_id == run_id]
        self.asked.difference_update(given_up)
        self.unasked = deque(task for task in self.unasked if task.run_id != run_id)
        for task in given_up:
            self.hearer.retry(task, run_ended())
        self._ask_more()

    def prove(self, tasks: Sequence[Task]) -> None:
        """Prove files by the listing; S3 is asked for those that it does not prove."""
        if len(tasks) == 1 and not _is_listed(tasks[0]):
            self._ask(tasks[0])
            return
        verdicts: list[Verdict | None] = []

        def work() -> None:
            with self.mirror.reading() as open_file:
                for task in tasks:
                    found, listed = _compared(task)
                    verdicts.append(prove_listed(open_file, found, listed, self._is_over(task)))

        def then(error: Exception | None) -> None:
            steps = [partial(self._looked_at, *each) for each in zip(tasks, verdicts, strict=False)]
            rest = tasks[len(verdicts) :]
            if error is not None and rest:
                steps.append(partial(self._unproved, rest[0], error))
                rest = rest[1:]
            steps += [partial(self.prove, [task]) for task in rest]
            _take_all(steps)

        self._hash(work, then)

    def _looked_at(self, task: Task, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.hearer.looked_at(task, verdict)
        else:
            self._ask(task)

    def _ask(self, task: Task) -> None:
        found, listed = _compared(task)
        if self.stopped(task.run_id):
            self.hearer.retry(task, run_ended())
        elif found.size != listed.size:
            self.hearer.looked_at(task, None)
        else:
            self.unasked.append(task)
            self._ask_more()

    def _ask_more(self) -> None:
        while self.unasked and len(self.asked) < self._most_questions:
            self._ask_now(self.unasked.popleft())

    def _ask_now(self, task: Task) -> None:
        _, listed = _compared(task)
        offers: list[Expectation | None] = []

        def work() -> None:
            if task in self.asked:
                offers.append(offered(self.bucket, listed))

        def then(error: Exception | None) -> None:
            if task not in self.asked:
                return
            self.asked.remove(task)
            self._ask_more()
            if error is not None:
                self._unproved(task, error)
            elif (expectation := offers[0]) is None:
                self.hearer.looked_at(task, None)
            else:
                self._compare(task, expectation)

        self.asked.add(task)
        self.ask(work, then)

    def _compare(self, task: Task, expectation: Expectation) -> None:
        """With what S3 says of the object."""
        verdicts: list[Verdict | None] = []
        found, _ = _compared(task)

        def work() -> None:
            is_over = self._is_over(task)
            verdicts.append(prove_offered(self.mirror.open, found, expectation, is_over))

        def then(error: Exception | None) -> None:
            if error is not None:
                self._unproved(task, error)
            else:
                self.hearer.looked_at(task, verdicts[0])

        self._hash(work, then)

    def _hash(self, work: Work, then: Then) -> None:
        def done(error: Exception | None) -> None:
            self.errands -= 1
            then(error)

        self.errands += 1
        self.hash(work, done)

    def _is_over(self, task: Task) -> Callable[[], bool]:
        return lambda: self.stopped(task.run_id)

    def _unproved(self, task: Task, error: Exception) -> None:
        if isinstance(error, BucketError) and not error.retryable:
            self.hearer.looked_at(task, None)  # what the question did not tell, the object will
        elif isinstance(error, DataSyncError):
            self.hearer.retry(task, error)
        else:
            self.problem(error)
            self.hearer.retry(task, InternalFault(f"{type(error).__name__} in the proof"))


def _take_all(steps: Sequence[Callable[[], None]]) -> None:
    """Take every step in turn, also those behind one that raises."""
    with ExitStack() as stack:
        for step in reversed(steps):
            stack.callback(step)


def _is_listed(task: Task) -> bool:
    """Whether the listing tells what would prove the file."""
    _, listed = _compared(task)
    return expect_listed(listed) is not None


def _compared(task: Task) -> tuple[FileStat, ListedObject]:
    assert task.found is not None and task.listed is not None
    return task.found, task.listed
