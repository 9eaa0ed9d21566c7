"""A plan as a table or as JSON: what a sync would do, how much, and whether it would be held.

Prints; what a plan comes to is reckoned in `controllers/plan.py`.
"""

from datasync.cli.terminal import Column, print_json, print_table, remark
from datasync.controllers.plan import PlanReport, size_of
from datasync.controllers.tallies import counted
from datasync.models.words import byte_text
from datasync.models.sync_models import Action, Operation

COLUMNS = (Column("operation", "word"), Column("key"), Column("size", "bytes"), Column("reason"))


def print_plan(
    report: PlanReport, held: str | None, failing: int = 0, *, limit: int | None = None
) -> None:
    """Print the actions on stdout and the totals on stderr. `failing` keys are in its scope.

    At most `limit` actions were asked for; a service elsewhere may have told fewer.
    """
    rows = ((a.operation.value, a.key, _size(a), a.reason) for a in report.actions)
    print_table(COLUMNS, rows)
    if report.total > len(report.actions):
        more = "; --limit shows more" if len(report.actions) == limit else ""
        remark(f"... and {report.total - len(report.actions):,} more{more}")
    remark(totals_text(report, failing))
    if held is not None:
        remark(f"A sync would be held and ask for approval: {held}.", style="bold yellow")


def _size(action: Action) -> int | None:
    """None where it is not known: a service elsewhere does not tell."""
    return None if action.listed is None and action.row is None else size_of(action)


def totals_text(report: PlanReport, failing: int) -> str:
    """ "12 download (3.4 MiB), 1 delete" or that there is nothing to do."""
    if not report.total and failing:
        verb = "is" if failing == 1 else "are"
        keys = counted(failing, "key")
        return f"Nothing to download or delete; {keys} {verb} failing: datasync failures."
    if not report.total:
        return "Nothing to do: the mirror is equal to the bucket."
    parts = []
    for operation in Operation:
        count = report.counts[operation]
        sized = operation is Operation.DOWNLOAD and report.sized
        size = f" ({byte_text(report.download_bytes)})" if sized else ""
        if count:
            parts.append(f"{count:,} {operation.value}{size}")
    return "Planned: " + ", ".join(parts) + ". Nothing was changed."


def print_plan_json(report: PlanReport, held: str | None, failing: int = 0) -> None:
    """Print the plan as one JSON document."""
    print_json(
        {
            "counts": {operation.value: report.counts[operation] for operation in Operation},
            "bytes_planned": report.download_bytes if report.sized else None,
            "held": held,
            "failing": failing,
            "actions": [
                {
                    "operation": action.operation.value,
                    "key": action.key,
                    "size": _size(action),
                    "reason": action.reason,
                }
                for action in report.actions
            ],
            "complete": report.total == len(report.actions),
        }
    )
