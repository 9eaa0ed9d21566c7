"""The commands that start, plan, list and decide runs: what they print and how they exit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.asked import Asked
from datasync.cli.display import Display, display_for
from datasync.cli.plan_report import print_plan, print_plan_json
from datasync.cli.session import asked, here, is_elsewhere
from datasync.cli.terminal import Column, print_json, print_line, print_table, remark
from datasync.cli.wording import in_commands
from datasync.controllers.tallies import counted
from datasync.models.words import duration_text
from datasync.models.sync_models import Run, RunStatus

if TYPE_CHECKING:  # the wire's shapes take long to load: not for --help
    from datasync.models.s3_models import RunDetail, RunReport, SyncResponse

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
    if adopt and is_elsewhere():
        raise typer.BadParameter("--adopt is for this machine's directory; it cannot go with --url")
    with asked(adopt, traced=True) as service:
        return _perform(service, json, lambda display: service.reconcile(prefix, display))


def verify(prefix: Prefix = "", json: Json = False) -> int:
    """Read every mirrored file again and check it against its checksum."""
    with here(traced=True) as service:
        return _perform(service, json, lambda display: service.verify(prefix, display))


def plan(prefix: Prefix = "", limit: Limit = 1000, json: Json = False) -> int:
    """Show what a sync would do, and change nothing. Exits with 2 if it would be held."""
    with asked() as service:
        planned = service.plan(prefix, limit)
    if json:
        print_plan_json(planned.report, planned.held, planned.failing)
    else:
        print_plan(planned.report, planned.held, planned.failing, limit=limit)
    return exits.REFUSED if planned.held else exits.DONE


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
    with asked() as service:
        if run_id is not None:
            from datasync.models.s3_models import DETAILS_LIMIT

            shown = limit or (DETAILS_LIMIT if json else DELETES_SHOWN)
            return _show_run(service.run(run_id, shown), json, shown)
        page = service.runs(limit or RUNS_SHOWN)
    if json:
        print_json(page.model_dump(mode="json"))
    else:
        print_table(RUN_COLUMNS, [_run_cells(run) for run in page.runs])
    return exits.DONE


def approve(run_id: RunId, json: Json = False) -> int:
    """Apply the deletes of a held run. Each is confirmed with S3 before it is done."""
    with asked(traced=True) as service:
        return _perform(service, json, lambda display: service.apply(run_id, display))


def cancel(run_id: RunId, json: Json = False) -> int:
    """Stop a queued or running run, or reject the plan of a held one."""
    with asked() as service:
        run = service.cancel(run_id)
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
    with asked() as service:
        answer = service.retry(keys or None)
    if json:
        print_json(answer.model_dump(mode="json"))
    else:
        print_line(answer.message)
    return exits.DONE


def _perform(service: Asked, json: bool, work: Callable[[Display], Run]) -> int:
    with display_for(json) as display:
        run = work(display)
    ending = service.ending(run)
    if json:
        print_json(ending.answer.model_dump(mode="json"))
    else:
        _print_end(run, ending.answer)
    for concern in ending.concerns:
        (remark if json else print_line)(f"- {concern}", style="yellow")
    return exits.exit_code_of(run, ending.failing)


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


def _run_cells(run: "RunReport") -> tuple[str | int | float | None, ...]:
    return (
        run.id,
        run.kind,
        run.status,
        None if run.started is None else run.started.timestamp(),
        None if run.seconds is None else duration_text(run.seconds),
        f"{run.progress.files_done}/{run.progress.files_planned}",
        run.failed,
        run.progress.bytes_done,
        run.prefix,
    )


def _show_run(run: "RunDetail", json: bool, wanted: int) -> int:
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
        more = "; --limit shows more" if len(run.planned_deletes) == wanted else ""
        remark(f"... {run.deletes_planned:,} deletes in all{more}")
    for detail in run.sync_details[:FAILURES_SHOWN]:
        print_line(f"{detail.status.value} {detail.operation}: {detail.file_key}: {detail.message}")
    return exits.DONE
