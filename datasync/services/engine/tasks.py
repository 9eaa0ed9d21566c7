"""What the transfer stage takes and gives: a task for one key, and what came of it."""

from dataclasses import dataclass
from enum import Enum

from datasync.errors import DataSyncError, Interrupted
from datasync.models.sync_models import (
    Action,
    DirtyKey,
    FileStat,
    ListedObject,
    ObjectHead,
    ObjectRow,
    Operation,
    Verdict,
)
from datasync.models.values import value
from datasync.services.storage.mirror import StagedFile


@dataclass(slots=True, eq=False)
class Task:
    """Look at one key in S3 and fetch what is there.

    `mark` is the dirty mark that this look satisfies. `urgent` tasks go ahead of bulk work.
    `intact` says that our file is the one the ledger remembers, so that an unchanged object need
    not be sent again. `found` is a file at the key's path whose content is not known to us.
    `action` is a planned one that needs no transfer. `approved` says that somebody has seen that
    the file may go. `failures` counts tries that failed. `here`: no worker process has it. Of an
    object of more than `most` bytes nothing is taken: TooLargeForWorker.
    """

    key: str
    operation: Operation = Operation.DOWNLOAD
    row: ObjectRow | None = None
    listed: ListedObject | None = None
    mark: DirtyKey | None = None
    urgent: bool = False
    run_id: int | None = None
    intact: bool = False
    found: FileStat | None = None
    refuted: bool = False
    action: Action | None = None
    approved: bool = False
    failures: int = 0
    started: float = 0.0
    here: bool = False
    most: int | None = None

    @property
    def nbytes(self) -> int:
        """The object's size, as far as a listing told it; else 0."""
        return self.listed.size if self.listed is not None else 0

    @property
    def to_prove(self) -> bool:
        """Whether there is a file whose content may be the object's."""
        return self.operation is Operation.ADOPT and self.found is not None and not self.refuted


class TooLargeForWorker(DataSyncError):
    """A worker process leaves this object to the engine's own; nobody else hears of it."""


class Found(Enum):
    """What S3 had for a key, or why we do not have it."""

    STAGED = "staged"
    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    MISSING = "missing"
    ARCHIVED = "archived"
    OVERSIZE = "oversize"
    RECORDED = "recorded"
    FORGOTTEN = "forgotten"  # no longer listed, and no file of it is stored
    FAILED = "failed"


def run_ended() -> Interrupted:
    """What becomes of the tasks of a run that is cancelled."""
    return Interrupted("the run was ended")


# What S3 said when it was asked for the key itself. Only that satisfies a mark: a listing, and
# the ledger all the more, may be older than the event.
ANSWERS = frozenset({Found.STAGED, Found.UNCHANGED, Found.MISSING, Found.ARCHIVED, Found.OVERSIZE})


@value(frozen=True, slots=True)
class Result:
    """What came of a task. `staged` belongs to whoever holds the result."""

    task: Task
    found: Found
    head: ObjectHead | None = None
    staged: StagedFile | None = None
    file: FileStat | None = None
    verdict: Verdict | None = None
    error: DataSyncError | None = None
    seconds: float = 0.0


def recorded(action: Action, run_id: int | None) -> Result:
    """An action that needs no transfer, on its way to the ledger."""
    task = Task(action.key, action.operation, action.row, action.listed, run_id=run_id)
    task.action = action
    return Result(task, Found.RECORDED)


def modified(listed: ListedObject | None, head: ObjectHead | None) -> int:
    """The time of a version: the listing's when it speaks of it, so that the next one agrees."""
    if head is None:
        return listed.last_modified if listed is not None else 0
    if listed is not None and listed.etag == head.etag:
        return listed.last_modified
    return head.last_modified
