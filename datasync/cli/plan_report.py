"""A plan as a table or as JSON: what a sync would do, how much, and whether it would be held.

Consumes the plan as it streams and remembers the first actions only. Changes nothing.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from datasync.cli.terminal import Column, byte_text, print_json, print_table, remark
from datasync.models.sync_models import Action, Operation, SyncOptions
from datasync.services.engine.planner import hold_reason

COLUMNS = (Column("operation"), Column("key"), Column("size", "bytes"), Column("reason"))


@dataclass(slots=True)
class PlanReport:
    """The tallies of a plan; `actions` holds at most the number that was asked for."""

    actions: list[Action] = field(default_factory=list)
    counts: Counter[Operation] = field(default_factory=Counter)
    download_bytes: int = 0
    files_deleted: int = 0
    listed: int = 0  # actions whose key the listing showed: a lower bound of the listing

    @property
    def total(self) -> int:
        return self.counts.total()


def summarise(plan: Iterable[Action], keep: int) -> PlanReport:
    """Read a plan to its end; keep its first `keep` actions."""
    report = PlanReport()
    for action in plan:
        report.counts[action.operation] += 1
        report.listed += action.listed is not None
        if action.operation is Operation.DELETE:
            report.files_deleted += action.row is not None and action.row.path is not None
        if action.operation is Operation.DOWNLOAD:
            report.download_bytes += size_of(action)
        if len(report.actions) < keep:
            report.actions.append(action)
    return report


def size_of(action: Action) -> int:
    """The bytes that an action speaks of: the listed object, or else the file that we hold."""
    if action.listed is not None:
        return action.listed.size
    return action.row.size if action.row is not None else 0


def held_because(report: PlanReport, mirrored: int, options: SyncOptions) -> str | None:
    """Why a sync with this plan would be held, None when it would go ahead.

    Whether the listing is empty is not part of a plan: it is taken to be when every mirrored
    file would be deleted and no action speaks of a listed key.
    """
    kept = mirrored - report.files_deleted
    return hold_reason(report.files_deleted, mirrored, report.listed + kept, options)


def print_plan(report: PlanReport, held: str | None) -> None:
    """Print the actions on stdout and the totals on stderr."""
    print_table(COLUMNS, ((a.operation.value, a.key, size_of(a), a.reason) for a in report.actions))
    if report.total > len(report.actions):
        remark(f"... and {report.total - len(report.actions):,} more; --limit shows more")
    remark(totals_text(report))
    if held is not None:
        remark(f"A sync would be held and ask for approval: {held}.", style="bold yellow")


def totals_text(report: PlanReport) -> str:
    """ "12 download (3.4 MiB), 1 delete" or that there is nothing to do."""
    if not report.total:
        return "Nothing to do: the mirror is equal to the bucket."
    parts = []
    for operation in Operation:
        count = report.counts[operation]
        size = f" ({byte_text(report.download_bytes)})" if operation is Operation.DOWNLOAD else ""
        if count:
            parts.append(f"{count:,} {operation.value}{size}")
    return "Planned: " + ", ".join(parts) + ". Nothing was changed."


def print_plan_json(report: PlanReport, held: str | None) -> None:
    """Print the plan as one JSON document."""
    print_json(
        {
            "counts": {operation.value: report.counts[operation] for operation in Operation},
            "bytes_planned": report.download_bytes,
            "held": held,
            "actions": [
                {
                    "operation": action.operation.value,
                    "key": action.key,
                    "size": size_of(action),
                    "reason": action.reason,
                }
                for action in report.actions
            ],
            "complete": report.total == len(report.actions),
        }
    )
