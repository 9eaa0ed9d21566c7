"""What a result means for the ledger: the key's new row and the outcome to remember.

Pure: knows no disk, network, clock or settings.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from datasync.errors import DataSyncError
from datasync.models.sync_models import (
    DirtyKey,
    FileStat,
    ListedObject,
    ObjectRow,
    Operation,
    Outcome,
    OutcomeStatus,
    RunCounts,
    State,
    Verdict,
)
from datasync.services.engine.levels import defer_seconds
from datasync.services.engine.planner import unmirrored
from datasync.services.engine.tasks import Found, Result, Task, modified


def held_file(row: ObjectRow | None) -> FileStat | None:
    """Our file for a row, as the ledger remembers it."""
    if row is None or row.path is None or row.local_size is None or row.mtime_ns is None:
        return None
    return FileStat(row.path, row.local_size, row.mtime_ns)


def last_modified(result: Result) -> int:
    """The time of the version that a result speaks of."""
    return modified(result.task.listed, result.head)


def same_file(row: ObjectRow, asked: ObjectRow) -> bool:
    """Whether S3, asked about the version of one row, has told of the file of the other one."""
    return row.etag == asked.etag and held_file(row) is not None


def is_marker(result: Result) -> bool:
    """Whether S3 has sent a folder marker, for which nothing is stored."""
    head = result.head
    return head is not None and head.size == 0 and result.task.key.endswith("/")


def synced_row(result: Result, file: FileStat | None, now: float) -> ObjectRow:
    """The row of a version that is on disk now; without a file, that of a folder marker."""
    head, listed = result.head, result.task.listed
    if head is None:  # adopted: the listing described it
        assert listed is not None
        etag, size, version = listed.etag, listed.size, None
    else:
        etag, size, version = head.etag, head.size, head.version_id
    return ObjectRow(
        key=result.task.key,
        etag=etag,
        size=size,
        last_modified=last_modified(result),
        state=State.SYNCED,
        path=file.path if file is not None else None,
        local_size=file.size if file is not None else None,
        mtime_ns=file.mtime_ns if file is not None else None,
        version_id=version,
        verdict=result.verdict if file is not None else None,
        synced_at=now,
    )


def refreshed_row(row: ObjectRow, modified: int, file: FileStat | None) -> ObjectRow:
    """A row that was found to be current, with S3's date of it."""
    return replace(
        row,
        state=State.SYNCED,
        reason=None,
        seen_etag=None,
        last_modified=modified or row.last_modified,
        mtime_ns=file.mtime_ns if file is not None else row.mtime_ns,
    )


def refused_row(result: Result, row: ObjectRow | None) -> ObjectRow:
    """The row of an object that is archived or too large; an older file is kept, stale."""
    state = State.ARCHIVED if result.found is Found.ARCHIVED else State.OVERSIZE
    told = result.head is not None or result.task.listed is not None
    if not told and row is not None and row.path is None and row.state is state:
        return row  # a bare refusal says less than the listing did
    return unmirrored(row, seen(result), state, str(result.error))


def failed_row(result: Result, row: ObjectRow | None, error: DataSyncError) -> ObjectRow:
    """The row of a key that could not be made current; what we hold of it is kept."""
    listed, task = seen(result), result.task
    if row is not None and row.path is not None:
        # A file that was found not to be the object must not pass for intact the next time.
        doubted = task.found is not None and not task.intact
        return replace(
            row,
            state=State.FAILED,
            reason=str(error),
            seen_etag=listed.etag or None,
            mtime_ns=0 if doubted else row.mtime_ns,
        )
    return unmirrored(None, listed, State.FAILED, str(error))


def seen(result: Result) -> ListedObject:
    """The version that S3 spoke of, as well as we know it."""
    task, head = result.task, result.head
    if head is not None:
        return ListedObject(task.key, head.size, head.etag, head.last_modified)
    return task.listed or ListedObject(task.key, 0, "", 0)


def deferred(mark: DirtyKey, error: DataSyncError, now: float, chance: float) -> DirtyKey:
    """A mark that waits for its next try."""
    attempts = mark.attempts + 1
    return replace(
        mark,
        attempts=attempts,
        not_before=now + defer_seconds(attempts, chance),
        last_error=f"{type(error).__name__}: {error}",
    )


def outcome(
    task: Task,
    operation: Operation,
    status: OutcomeStatus,
    message: str,
    now: float,
    *,
    nbytes: int = 0,
    seconds: float = 0.0,
    verdict: Verdict | None = None,
    error: DataSyncError | None = None,
) -> Outcome:
    """The outcome of a task; its lags run from the first event that told of the change.

    A try that failed has none: the event still waits.
    """
    told = task.mark if task.urgent and status is not OutcomeStatus.FAILED else None
    lag = _lag(told, now)
    return Outcome(
        key=task.key,
        operation=operation,
        status=status,
        message=message,
        at=now,
        run_id=task.run_id,
        bytes=nbytes,
        seconds=seconds,
        verdict=verdict,
        error=type(error).__name__ if error is not None else None,
        hint=error.hint if error is not None else None,
        lag_seconds=lag,
        event_lag_seconds=_event_lag(told, lag, now),
    )


def _lag(mark: DirtyKey | None, now: float) -> float | None:
    return None if mark is None or not mark.events else max(0.0, now - mark.first_seen)


def _event_lag(mark: DirtyKey | None, lag: float | None, now: float) -> float | None:
    """From the change itself, if its sender told when; a clock ahead of ours adds nothing."""
    if lag is None or mark is None or mark.happened is None:
        return None
    return max(lag, now - mark.happened)


def add(counts: RunCounts, told: Iterable[Outcome]) -> RunCounts:
    """The tallies with these outcomes."""
    more: Counter[str] = Counter()
    for each in told:
        failed = each.status is OutcomeStatus.FAILED
        name = "failed" if failed else _TALLIES.get(each.operation, "skipped")
        more[name] += 1
        if name == "downloaded":
            more["bytes"] += each.bytes
    return replace(counts, **{name: getattr(counts, name) + count for name, count in more.items()})


_TALLIES = {
    Operation.DOWNLOAD: "downloaded",
    Operation.DELETE: "deleted",
    Operation.ADOPT: "adopted",
}
