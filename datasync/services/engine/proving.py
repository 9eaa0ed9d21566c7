"""Files that are there before us, proved for a loop by other threads.

Many small ones go in one errand: handing each over by itself would cost more than reading it.
Knows no ledger, and asks S3 only for what the listing cannot tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from datasync.errors import BucketError, DataSyncError, InternalFault
from datasync.models.sync_models import FileStat, ListedObject, Verdict
from datasync.services.engine.hashing import Then, Work
from datasync.services.engine.proof import prove_asked, prove_listed, prove_local
from datasync.services.engine.tasks import Task
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.mirror import Mirror

# So many errands wait for a proving thread at most: an event may take back files that queue.
PROOFS_AHEAD = 4


class Asking(Protocol):
    """The loop whose files they are; it hears on its own thread."""

    def looked_at(self, task: Task, verdict: Verdict | None) -> None:
        """What the proof of a file came to; None: it is another file, or cannot be proved."""

    def retry(self, task: Task, error: DataSyncError) -> None:
        """There was no proof this time."""


@dataclass(slots=True)
class Proving:
    """The errands of one loop. `elsewhere` has work done by another thread, and calls back here.

    `stopped(run_id)` says whether nobody wants it any more; `problem` hears of mistakes of ours.
    """

    bucket: Bucket
    mirror: Mirror
    asking: Asking
    elsewhere: Callable[[Work, Then], None]
    stopped: Callable[[int | None], bool]
    problem: Callable[[Exception], None]
    errands: int = 0  # under way

    @property
    def room(self) -> int:
        return PROOFS_AHEAD - self.errands

    def prove(self, tasks: Sequence[Task]) -> None:
        """Prove files; of several those first that the listing alone can prove."""
        if len(tasks) == 1:
            self._alone(tasks[0], prove_local)
        else:
            self._together(tasks)

    def _together(self, tasks: Sequence[Task]) -> None:
        verdicts: list[Verdict | None] = []

        def work() -> None:
            with self.mirror.reading() as open_file:
                for task in tasks:
                    found, listed = _compared(task)
                    verdicts.append(prove_listed(open_file, found, listed, self._over(task)))

        def then(error: Exception | None) -> None:
            rest = iter(tasks)
            for verdict, task in zip(verdicts, rest, strict=False):
                if verdict is not None or _is_other(task):
                    self.asking.looked_at(task, verdict)
                else:  # S3 has to be asked: that may take its time
                    self._alone(task, prove_asked)
            if error is not None and (failing := next(rest, None)) is not None:
                self._unproved(failing, error)
            for task in rest:
                self._alone(task, prove_local)

        self._send(work, then)

    def _alone(self, task: Task, prove: Callable[..., Verdict | None]) -> None:
        verdicts: list[Verdict | None] = []
        found, listed = _compared(task)

        def work() -> None:
            verdicts.append(prove(self.bucket, self.mirror, found, listed, self._over(task)))

        def then(error: Exception | None) -> None:
            if error is not None:
                self._unproved(task, error)
            else:
                self.asking.looked_at(task, verdicts[0])

        self._send(work, then)

    def _send(self, work: Work, then: Then) -> None:
        def over(error: Exception | None) -> None:
            self.errands -= 1
            then(error)

        self.errands += 1
        self.elsewhere(work, over)

    def _over(self, task: Task) -> Callable[[], bool]:
        return lambda: self.stopped(task.run_id)

    def _unproved(self, task: Task, error: Exception) -> None:
        if isinstance(error, BucketError) and not error.retryable:
            self.asking.looked_at(task, None)  # what the question did not tell, the object will
        elif isinstance(error, DataSyncError):
            self.asking.retry(task, error)
        else:
            self.problem(error)
            self.asking.retry(task, InternalFault(f"{type(error).__name__} in the proof"))


def _is_other(task: Task) -> bool:
    found, listed = _compared(task)
    return found.size != listed.size


def _compared(task: Task) -> tuple[FileStat, ListedObject]:
    assert task.found is not None and task.listed is not None
    return task.found, task.listed
