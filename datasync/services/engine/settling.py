"""What each result means: for the key's row, for its mark, and for whoever is told of it.

Fills in the group that is being committed. Changes no file but its date. Knows no network and no
ledger.
"""

import random
from contextlib import suppress
from dataclasses import replace

from datasync.errors import DataSyncError, Interrupted, MirrorError
from datasync.models.sync_models import ObjectRow, Operation, OutcomeStatus, Verdict
from datasync.services.engine import outcomes
from datasync.services.engine.group import Done, Group
from datasync.services.engine.tasks import Found, Result, Task
from datasync.services.storage.mirror import Mirror, Published

_EFFECTS = frozenset({Operation.DOWNLOAD, Operation.DELETE, Operation.ADOPT})


class Meaning:
    """What results mean, as they are known once their files are in their places, or are not."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def downloaded(self, group: Group, result: Result, published: Published) -> None:
        row = outcomes.synced_row(result, published.file, group.now)
        message = f"Downloaded successfully in {result.seconds:.2f} seconds"
        if published.trashed:
            message += "; what was there before is in the trash"
        self.success(group, result, row, Operation.DOWNLOAD, message)

    def nothing_held(self, group: Group, result: Result) -> None:
        known = result.task.key in group.rows
        operation = Operation.DELETE if known else Operation.SKIP
        message = "Forgotten, no file was stored" if known else "Not in the bucket, not held"
        self.success(group, result, None, operation, message)

    def other(self, group: Group, result: Result) -> None:
        """Everything but a staged file and an object that S3 does not have."""
        row = group.rows.get(result.task.key)
        if result.found is Found.ADOPTED:
            self._adopted(group, result)
        elif result.found is Found.UNCHANGED:
            self._unchanged(group, result, row)
        elif result.found in (Found.RECORDED, Found.FORGOTTEN):
            self._as_planned(group, result, row)
        elif result.found in (Found.ARCHIVED, Found.OVERSIZE):
            refused = outcomes.refused_row(result, row)
            self.success(group, result, refused, Operation.SKIP, refused.reason or "")
        elif result.found is Found.FAILED:
            assert result.error is not None
            self.failed(group, result, result.error)

    def _adopted(self, group: Group, result: Result) -> None:
        assert result.file is not None
        held, file = outcomes.held_file(group.rows.get(result.task.key)), result.file
        if held is not None and replace(held, path=file.path) == file:
            file = held  # the same file, which may have moved aside since
        row = outcomes.synced_row(result, file, group.now)
        row = self._dated(row, outcomes.last_modified(result))
        known = held == file
        operation = Operation.SKIP if known else Operation.ADOPT
        by_size = result.verdict is Verdict.SIZE  # which is no proof
        looked = "Size compared" if by_size else "Verified"
        message = f"{looked if known else 'Adopted'} in {result.seconds:.2f} seconds"
        self.success(group, result, row, operation, message)

    def _unchanged(self, group: Group, result: Result, row: ObjectRow | None) -> None:
        asked = result.task.row
        if row is None or asked is None or not outcomes.same_file(row, asked):
            group.done.append(Done(result.task, None, row, again=True))
            return
        modified = outcomes.last_modified(result)
        row = self._dated(outcomes.refreshed_row(row, modified, None), modified)
        self.success(group, result, row, Operation.SKIP, "Unchanged")

    def _as_planned(self, group: Group, result: Result, row: ObjectRow | None) -> None:
        """What the ledger alone decided holds only while it says of the key what it said then."""
        asked = result.task.row
        same = row == asked if result.found is Found.RECORDED else _holds_same(row, asked)
        if not same:
            self.success(group, result, row, Operation.SKIP, "Changed since it was listed")
        elif result.found is Found.FORGOTTEN:
            self.nothing_held(group, result)
        else:
            self._recorded(group, result.task)

    def _recorded(self, group: Group, task: Task) -> None:
        action = task.action
        assert action is not None and action.record is not None
        row = self._dated(action.record, action.record.last_modified)
        result = Result(task, Found.RECORDED)
        self.success(group, result, row, action.operation, action.reason)

    def _dated(self, row: ObjectRow, modified: int) -> ObjectRow:
        """Give a file S3's date, where it has another one and is still ours."""
        file = outcomes.held_file(row)
        if file is None or not modified or file.mtime_ns == modified * 10**9:
            return row
        with suppress(MirrorError):  # the date is a courtesy; the bytes are right
            if self._mirror.stat_many([file.path]) == [file]:
                return replace(row, mtime_ns=self._mirror.touch(file.path, modified).mtime_ns)
        return row

    def success(
        self,
        group: Group,
        result: Result,
        row: ObjectRow | None,
        operation: Operation,
        message: str,
    ) -> None:
        moved = operation is Operation.DOWNLOAD
        done = outcomes.outcome(
            result.task,
            operation,
            OutcomeStatus.SUCCESS if operation in _EFFECTS else OutcomeStatus.SKIPPED,
            message,
            group.now,
            nbytes=row.size if moved and row is not None else 0,
            seconds=result.seconds,
            verdict=result.verdict,
        )
        group.settle(result, row, done)

    def failed(self, group: Group, result: Result, error: DataSyncError) -> None:
        if result.staged is not None:
            result.staged.discard()
        task = result.task
        if isinstance(error, Interrupted):
            group.done.append(Done(task, None, group.rows.get(task.key)))
            return
        row = group.rows.get(task.key)
        if task.mark is not None:
            group.deferred.append(outcomes.deferred(task.mark, error, group.now, random.random()))
        if not task.urgent:
            row = outcomes.failed_row(result, row, error)
            group.kept[task.key] = row
        done = outcomes.outcome(
            task,
            task.operation,
            OutcomeStatus.FAILED,
            str(error),
            group.now,
            seconds=result.seconds,
            error=error,
        )
        group.done.append(Done(task, done, row))


def _holds_same(row: ObjectRow | None, asked: ObjectRow | None) -> bool:
    return outcomes.held_file(row) == outcomes.held_file(asked)
