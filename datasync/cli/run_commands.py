"""The commands that start, plan, list and decide runs: what they print and how they exit."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.conductor import Conductor
from datasync.cli.display import display_for
from datasync.cli.plan_report import print_plan, print_plan_json
from datasync.cli.session import opened
from datasync.cli.terminal import Column, print_json, print_line, print_table, remark
from datasync.cli.verdict import failing_keys, noted
from datasync.cli.wording import in_commands
from datasync.controllers.tallies import counted
from datasync.controllers.words import duration_text
from datasync.models.sync_models import Run, RunKind, RunStatus

if TYPE_CHECKING:  # the wire's shapes take long to load: not for --help
    from datasync.composition import Components
    from datasync.models.s3_models import RunDetail, SyncResponse

FAILURES_SHOWN = 20
RUNS_SHOWN = 20
DELETES_SHOWN = 50
MOST_SHOWN = 100_000

Prefix = Annotated[str, typer.Option(help="Only keys that begin with this.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Adopt = Annotated[
    bool,
    typer.Option(
        "--adopt",
        help="Take over another bucket's directory, or another directory's ledger.",
    ),
]
RunId = Annotated[int, typer.Argument(min=1, help="Number of the run, as in: datasync runs.")]
Limit = Annotated[int, typer.Option(min=1, max=MOST_SHOWN, help="Show at most so many.")]

RUN_COLUMNS = (
    Column("run", "word"),
    Column("kind", "word"),
    Column("status", "word"),
    Column("started", "time"),
    Column("took", "word"),
    Column("done", "word"),
    Column("failed", "word"),
    Column("bytes", "bytes"),
    Column("prefix"),
)


def sync(
    prefix: Prefix = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, change nothing.")
    ] = False,
    adopt: Adopt = False,
    json: Json = False,
) -> int:
    """Make the mirror equal to the bucket now."""
    if dry_run:
        return plan(prefix=prefix, json=json)
    return _perform(RunKind.RECONCILE, prefix, json, adopt)


def verify(prefix: Prefix = "", json: Json = False) -> int:
    """Read every mirrored file again and check it against its checksum."""
    return _perform(RunKind.VERIFY, prefix, json)


def plan(prefix: Prefix = "", limit: Limit = 1000, json: Json = False) -> int:
    """Show what a sync would do, and change nothing. Exits with 2 if it would be held."""
    with opened() as parts:
        scope = parts.controller.scope.within(prefix)
        report, held = parts.controller.planned(scope, limit)
        failing = failing_keys(parts, parts.controller.facts(), scope)
    if json:
        print_plan_json(report, held, failing)
    else:
        print_plan(report, held, failing)
    return exits.REFUSED if held else exits.DONE


def runs(
    run_id: Annotated[int | None, typer.Argument(min=1, help="Show this run only.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_SHOWN, help="Show at most so many runs, or deletes of a held one."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """List the runs, newest first; with a number: all about that run."""
    with opened() as parts:
        if run_id is not None:
            from datasync.models.s3_models import DETAILS_LIMIT

            shown = limit or (DETAILS_LIMIT if json else DELETES_SHOWN)
            return _show_run(parts.controller.run(run_id, shown), json)
        count = limit or RUNS_SHOWN
        if json:
            print_json(parts.controller.runs(count, None).model_dump(mode="json"))
            return exits.DONE
        print_table(RUN_COLUMNS, [_run_cells(run) for run in parts.ledger.runs(count)])
    return exits.DONE


def approve(run_id: RunId, json: Json = False) -> int:
    """Apply the deletes of a held run. Each is confirmed with S3 before it is done."""
    with opened() as parts:
        return _conduct(parts, json, lambda conductor: conductor.apply(run_id))


def cancel(run_id: RunId, json: Json = False) -> int:
    """Stop a queued or running run, or reject the plan of a held one."""
    with opened() as parts:
        run = parts.controller.cancel(run_id)
    if json:
        print_json(run.model_dump(mode="json"))
    elif run.status == RunStatus.CANCELLED.value:
        kept = f" Its {counted(run.deletes_planned, 'delete')} will not be done."
        print_line(f"Run {run.id} is cancelled.{kept if run.deletes_planned else ''}")
    else:
        print_line(f"Run {run.id} stops; what was downloaded so far stays.")
    return exits.DONE


def retry(
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys to try again; all that failed if none.")
    ] = None,
    json: Json = False,
) -> int:
    """Try failed keys again, in the running service or with the next sync."""
    with opened() as parts:
        answer = parts.controller.retry(keys or None)
    if json:
        print_json(answer.model_dump(mode="json"))
    else:
        print_line(answer.message)
    return exits.DONE


def _perform(kind: RunKind, prefix: str, json: bool, adopt: bool = False) -> int:
    with opened(adopt=adopt) as parts:
        below = parts.controller.scope.of_run(prefix)
        return _conduct(parts, json, lambda conductor: conductor.perform(kind, below))


def _conduct(parts: "Components", json: bool, work: Callable[[Conductor], Run]) -> int:
    with display_for(json) as display:
        run = work(Conductor(parts.service, parts.ledger, display))
    answer, facts = parts.controller.response(run.id), parts.controller.facts()
    failing = failing_keys(parts, facts, run.prefix or parts.settings.s3_prefix)
    concerns = noted(facts) if run.status is RunStatus.SUCCESS and not answer.in_sync else []
    if json:
        print_json(answer.model_dump(mode="json"))
    else:
        _print_end(run, answer)
    for concern in concerns:
        (remark if json else print_line)(f"- {concern}", style="yellow")
    return exits.exit_code_of(run, failing)


def _print_end(run: Run, answer: "SyncResponse") -> None:
    from datasync.models.s3_models import DetailStatus

    print_line(answer.message)
    failed = [d for d in answer.sync_details if d.status is DetailStatus.FAILED]
    for detail in failed[:FAILURES_SHOWN]:
        print_line(f"failed: {detail.file_key}: {detail.message}", style="red")
    if run.counts.failed > len(failed[:FAILURES_SHOWN]):
        remark("More: datasync failures")
    if run.hint and run.status in (RunStatus.FAILED, RunStatus.PARTIAL):
        remark(f"hint: {in_commands(run.hint)}")
    if run.status is RunStatus.HELD:
        remark(
            f"See: datasync runs {run.id}. Apply: datasync approve {run.id}. "
            f"Reject: datasync cancel {run.id}."
        )
    elif answer.in_sync:
        print_line("The mirror is in sync with the bucket.", style="green")


def _run_cells(run: Run) -> tuple[str | int | float | None, ...]:
    from datasync.controllers.views import run_report

    report = run_report(run, time.time())
    return (
        run.id,
        run.kind.value,
        run.status.value,
        run.started,
        None if report.seconds is None else duration_text(report.seconds),
        f"{report.progress.files_done}/{report.progress.files_planned}",
        run.counts.failed,
        run.counts.bytes,
        run.prefix,
    )


def _show_run(run: "RunDetail", json: bool) -> int:
    if json:
        print_json(run.model_dump(mode="json"))
        return exits.DONE
    hidden = {"progress", "planned_deletes", "sync_details"}
    facts = run.model_dump(mode="json", exclude=hidden)
    facts["seconds"] = None if run.seconds is None else round(run.seconds, 2)
    facts["hint"] = None if run.hint is None else in_commands(run.hint)
    print_table((Column("fact", "word"), Column("value")), list(facts.items()))
    for key in run.planned_deletes:
        print_line(f"would delete: {key}")
    if run.status == RunStatus.HELD.value and run.deletes_planned > len(run.planned_deletes):
        remark(f"... {run.deletes_planned:,} deletes in all; --limit shows more")
    for detail in run.sync_details[:FAILURES_SHOWN]:
        print_line(f"{detail.status.value} {detail.operation}: {detail.file_key}: {detail.message}")
    return exits.DONE
