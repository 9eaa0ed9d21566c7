"""One group of results while it is committed: what it changes in the ledger, and what came of it.

Knows no disk and no network.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from datasync.models.sync_models import DirtyKey, ObjectRow, Outcome
from datasync.models.values import value
from datasync.services.engine.tasks import ANSWERS, Result, Task


@value(frozen=True, slots=True)
class Done:
    """A task that is settled: on disk, in the ledger. `row` is the key's row now.

    `outcome` is None when the work was interrupted: nothing is known to have happened. `broken`
    is then the error that kept anything from being recorded, if there was one. `again` says
    that what S3 answered is about another file than the one we hold: the task is not over.
    """

    task: Task
    outcome: Outcome | None
    row: ObjectRow | None
    broken: Exception | None = None
    again: bool = False


@dataclass(slots=True)
class Group:
    """One group being committed."""

    now: float
    rows: dict[str, ObjectRow]  # as the ledger has them before the group, files moved aside apart
    kept: dict[str, ObjectRow] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    cleared: list[DirtyKey] = field(default_factory=list)
    deferred: list[DirtyKey] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    unapproved: list[str] = field(default_factory=list)  # keys whose files nobody approved to go

    def moved(self, row: ObjectRow) -> None:
        """A file that went aside: whatever else the group does to its key starts from there."""
        self.rows[row.key] = self.kept[row.key] = row

    def settle(self, result: Result, row: ObjectRow | None, done: Outcome) -> None:
        task = result.task
        if row is not None:
            self.kept[task.key] = row
        elif task.key in self.rows:
            self.kept.pop(task.key, None)
            self.removed.append(task.key)
        if task.mark is not None and result.found in ANSWERS:
            self.cleared.append(task.mark)
        self.done.append(Done(task, done, row))

    def halves(self) -> "tuple[Group, ...]":
        """The same in two parts, by key; none when it is about one key."""
        keys = sorted(self._keys())
        middle = len(keys) // 2
        return (self._only(keys[:middle]), self._only(keys[middle:])) if middle else ()

    def _keys(self) -> set[str]:
        marks = [mark.key for mark in (*self.cleared, *self.deferred)]
        return {*self.kept, *self.removed, *marks, *(item.task.key for item in self.done)}

    def _only(self, keys: Collection[str]) -> "Group":
        wanted = frozenset(keys)
        return Group(
            self.now,
            self.rows,
            {key: row for key, row in self.kept.items() if key in wanted},
            [key for key in self.removed if key in wanted],
            [mark for mark in self.cleared if mark.key in wanted],
            [mark for mark in self.deferred if mark.key in wanted],
            [item for item in self.done if item.task.key in wanted],
            [key for key in self.unapproved if key in wanted],
        )
