"""What a run would do now, in figures, and whether it would be held: for HTTP and command line.

Consumes a plan as it streams and remembers its first actions only. Changes nothing, prints
nothing; the rule of holding is the planner's.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datasync.models.sync_models import Action, Operation, SyncOptions
from datasync.services.engine.planner import NO_PAST, Past, hold_reason

if TYPE_CHECKING:
    from datasync.services.engine.scan import Step


@dataclass(slots=True)
class PlanReport:
    """The tallies of a plan; `actions` holds at most the number that was asked for.

    `sized`: whether it is known how many bytes the downloads are.
    """

    actions: list[Action] = field(default_factory=list)
    counts: Counter[Operation] = field(default_factory=Counter)
    download_bytes: int = 0
    sized: bool = True
    files_deleted: int = 0
    listed: int = 0
    unchanged: int = 0

    @property
    def total(self) -> int:
        """How many actions the plan has."""
        return self.counts.total()

    def add(self, action: Action) -> None:
        """Count an action."""
        self.counts[action.operation] += 1
        if action.operation is Operation.DELETE:
            self.files_deleted += action.row is not None and action.row.path is not None
        if action.operation is Operation.DOWNLOAD:
            self.download_bytes += size_of(action)


def summarise(steps: "Iterable[Step]", keep: int) -> PlanReport:
    """Read a plan to its end; keep its first `keep` actions."""
    report = PlanReport()
    for step in steps:
        report.listed += step.listed
        report.unchanged += step.unchanged
        for action in step.actions:
            report.add(action)
        report.actions += step.actions[: keep - len(report.actions)]
    return report


def size_of(action: Action) -> int:
    """The bytes that an action speaks of: the listed object, or else the file that we hold."""
    if action.listed is not None:
        return action.listed.size
    return action.row.size if action.row is not None else 0


def held_because(
    report: PlanReport, mirrored: int, options: SyncOptions, before: Past = NO_PAST
) -> str | None:
    """Why a run with this plan would be held, None when it would go ahead.

    `mirrored` files were in scope before the plan was made, `before` is what runs did lately.
    """
    return hold_reason(report.files_deleted, mirrored, report.listed, options, before)
