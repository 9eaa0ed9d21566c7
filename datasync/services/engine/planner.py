"""Decides what must happen to a key: a listing and the ledger in, actions out.

Pure: knows no disk, network, clock or settings. What the disk looks like is told by `OnDisk`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from datasync.models.sync_models import (
    Action,
    ListedObject,
    ObjectRow,
    Operation,
    Run,
    RunStatus,
    State,
    SyncOptions,
)
from datasync.models.values import value

DAY_SECONDS = 86_400.0
COLD_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class OnDisk(Enum):
    """What a stat found at a key's path."""

    INTACT = "intact"  # the file the ledger remembers, by size and mtime
    TOUCHED = "touched"  # a file of the right size that somebody wrote or touched
    CHANGED = "changed"  # a file of another size, or something that is no file
    AHEAD = "ahead"  # not the file the ledger remembers; by its size it may be what S3 lists
    ABSENT = "absent"


@value(frozen=True, slots=True)
class Pair:
    """A key as the listing and the ledger see it; at least one of them knows it."""

    listed: ListedObject | None
    row: ObjectRow | None


def pair(listed: Iterable[ListedObject], rows: Iterable[ObjectRow]) -> Iterator[Pair]:
    """Merge two sequences that are both in key order.

    Code point order of `str` is the byte order of UTF-8, so keys compare as they are.
    """
    left, right = iter(listed), iter(rows)
    item, row = next(left, None), next(right, None)
    while item is not None and row is not None:
        if item.key < row.key:
            yield Pair(item, None)
            item = next(left, None)
        elif row.key < item.key:
            yield Pair(None, row)
            row = next(right, None)
        else:
            yield Pair(item, row)
            item, row = next(left, None), next(right, None)
    while item is not None:
        yield Pair(item, None)
        item = next(left, None)
    while row is not None:
        yield Pair(None, row)
        row = next(right, None)


def decide(found: Pair, disk: OnDisk, options: SyncOptions) -> Action | None:
    """What one key needs; None when the mirror already has it right."""
    listed, row = found.listed, found.row
    if listed is None:
        assert row is not None
        return Action(Operation.DELETE, row.key, "no longer in the bucket", None, row)
    if row is not None and disk is OnDisk.INTACT and options.skip_existing:
        if _current(listed, row):
            return None
    refusal = refuse(listed, row, disk, options)
    if refusal is not None:
        return _recorded(refusal, listed, row, disk)
    if is_marker(listed):
        return _marker(listed, row)
    if row is None or row.path is None:
        return _unheld(listed, row, disk)
    return _held(listed, row, disk, options)


def _current(listed: ListedObject, row: ObjectRow) -> bool:
    # The answer for nearly every key of nearly every run: nothing is built to give it.
    return (
        row.etag == listed.etag
        and row.size == listed.size
        and row.last_modified == listed.last_modified
        and row.state is State.SYNCED
        and listed.problem is None
    )


def refuse(
    listed: ListedObject, row: ObjectRow | None, disk: OnDisk, options: SyncOptions
) -> tuple[State, str] | None:
    """Why an object is not mirrored, if it is not; a version that we already hold is kept."""
    if listed.problem is not None:
        return State.REJECTED, listed.problem
    if row is not None and row.path is not None and disk is not OnDisk.ABSENT:
        if same_version(listed, row):
            return None
    if listed.size > options.max_bytes:
        return State.OVERSIZE, oversize_reason(listed.size, options.max_bytes)
    if is_cold(listed):
        return State.ARCHIVED, f"storage class {listed.storage_class}, not restored"
    return None


def oversize_reason(size: int, max_bytes: int) -> str:
    return f"{size} bytes, over MAX_FILE_SIZE_MB ({max_bytes} bytes)"


def is_marker(listed: ListedObject) -> bool:
    """Zero-byte `dir/` objects only mark a folder; nothing is stored for them."""
    return listed.size == 0 and listed.key.endswith("/")


def is_cold(listed: ListedObject) -> bool:
    """Whether S3 would refuse to send the object, because it is archived."""
    return listed.storage_class in COLD_CLASSES and not listed.restored


def same_version(listed: ListedObject, row: ObjectRow) -> bool:
    """Whether the version on disk is the listed one: by ETag and size, never by time."""
    return row.etag == listed.etag and row.size == listed.size


def is_drift(action: Action) -> bool:
    """Whether the key changed in S3: a file changed here is none, nor is another try of ours."""
    row, listed = action.row, action.listed
    if row is None or listed is None:
        return True
    if row.state is State.FAILED:
        return False
    restored = row.state is State.ARCHIVED
    return restored or not same_version(listed, row) and row.seen_etag != listed.etag


def unmirrored(row: ObjectRow | None, listed: ListedObject, state: State, reason: str) -> ObjectRow:
    """The row of an object that is not mirrored as listed; an older file of it is kept, stale."""
    if row is not None and row.path is not None:
        return replace(row, state=State.STALE, reason=reason, seen_etag=listed.etag)
    return ObjectRow(
        key=listed.key,
        etag=listed.etag,
        size=listed.size,
        last_modified=listed.last_modified,
        state=state,
        reason=reason,
        seen_etag=listed.etag,
    )


def _recorded(
    refusal: tuple[State, str], listed: ListedObject, row: ObjectRow | None, disk: OnDisk
) -> Action | None:
    state, reason = refusal
    operation = Operation.REJECT if state is State.REJECTED else Operation.SKIP
    kept = row if row is None or disk is not OnDisk.ABSENT else replace(row, path=None)
    record = unmirrored(kept, listed, state, reason)
    if row is not None and record == replace(row, synced_at=record.synced_at):
        return None
    return Action(operation, listed.key, reason, listed, row, record)


def _marker(listed: ListedObject, row: ObjectRow | None) -> Action | None:
    if row is not None and row.path is not None:
        return Action(Operation.DOWNLOAD, listed.key, "became a folder marker", listed, row)
    if row is not None and _current(listed, row):
        return None
    record = marker_row(listed)
    return Action(Operation.SKIP, listed.key, "folder marker", listed, row, record)


def marker_row(listed: ListedObject) -> ObjectRow:
    return ObjectRow(listed.key, listed.etag, 0, listed.last_modified, State.SYNCED)


def _unheld(listed: ListedObject, row: ObjectRow | None, disk: OnDisk) -> Action:
    if disk is OnDisk.ABSENT:
        reason = "new in the bucket" if row is None else f"was {row.state}"
        return Action(Operation.DOWNLOAD, listed.key, reason, listed, row)
    return Action(Operation.ADOPT, listed.key, "a file is already there", listed, row)


def _held(
    listed: ListedObject, row: ObjectRow, disk: OnDisk, options: SyncOptions
) -> Action | None:
    if not same_version(listed, row):
        # The ledger may lag behind the disk: by a crash, or since it came out of a backup.
        adopt = disk is OnDisk.AHEAD and options.skip_existing
        operation = Operation.ADOPT if adopt else Operation.DOWNLOAD
        return Action(operation, listed.key, "changed in the bucket", listed, row)
    if not options.skip_existing and not is_cold(listed):
        return Action(Operation.DOWNLOAD, listed.key, "SKIP_EXISTING_FILES is off", listed, row)
    if disk is OnDisk.TOUCHED:
        return Action(Operation.ADOPT, listed.key, "touched locally", listed, row)
    if disk is not OnDisk.INTACT:
        reason = "missing locally" if disk is OnDisk.ABSENT else "changed locally"
        return Action(Operation.DOWNLOAD, listed.key, reason, listed, row)
    record = replace(
        row, state=State.SYNCED, reason=None, seen_etag=None, last_modified=listed.last_modified
    )
    if record == row:
        return None
    return Action(Operation.SKIP, listed.key, "same content, new date", listed, row, record)


@dataclass(frozen=True, slots=True)
class Past:
    """What runs over the same keys did within a day, since somebody approved of a plan.

    The most keys that one of them listed, and how many all of them deleted without approval.
    """

    listed: int = 0
    deleted: int = 0


NO_PAST = Past()


def past(runs: Sequence[Run], prefix: str, scope: str, now: float) -> Past:
    """The past of a prefix, from runs, newest first; one without a prefix is of the `scope`."""
    listed = deleted = 0
    for run in runs:
        below = run.prefix or scope
        if run.status in (RunStatus.QUEUED, RunStatus.RUNNING):
            continue
        if run.started is None or now - run.started > DAY_SECONDS:
            continue
        if below == prefix:
            listed = max(listed, run.counts.listed)
        if run.approved and prefix.startswith(below):
            break
        if below.startswith(prefix) and not run.approved:
            deleted += run.counts.deleted
    return Past(listed, deleted)


def is_plan_outdated(run: Run, now: float) -> bool:
    """Whether a held plan was made too long ago to be approved as it was shown."""
    return run.finished is None or now - run.finished > DAY_SECONDS


def hold_reason(
    files: int, mirrored: int, listed: int, options: SyncOptions, before: Past = NO_PAST
) -> str | None:
    """Why a plan of `files` deletes must wait for approval; None when it may go ahead.

    `mirrored` files were in scope before the run, `listed` keys came with the listing. What runs
    deleted `before` counts as far as nothing came in its stead: a loss in small steps is one too.
    """
    if files == 0:
        return None
    if listed == 0:
        return f"the listing is empty while {mirrored} files are mirrored"
    if is_beyond(files, mirrored, options):
        return (
            f"{files} of {mirrored} files ({percent(files, mirrored):.0f} %) would be deleted; "
            f"{_limits(options)}"
        )
    gone = min(files + before.deleted, before.listed - listed)
    if is_beyond(gone, before.listed, options):
        return (
            f"{files} files would be deleted, which makes {gone} of {before.listed} keys "
            f"({percent(gone, before.listed):.0f} %) within a day; {_limits(options)}"
        )
    return None


def is_beyond(files: int, of: int, options: SyncOptions) -> bool:
    """Whether losing so many files of so many is more than may happen without approval."""
    too_many = files > options.delete_limit_files
    return too_many and percent(files, of) > options.delete_limit_percent


def percent(files: int, of: int) -> float:
    return 100.0 * files / max(of, 1)


def _limits(options: SyncOptions) -> str:
    return (
        f"the limits are DELETE_LIMIT_FILES={options.delete_limit_files} and "
        f"DELETE_LIMIT_PERCENT={options.delete_limit_percent:g}"
    )
