"""`datasync status`, `files` and `failures`: what the ledger says, with or without a service."""

from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json, Limit, Prefix
from datasync.cli.session import asked
from datasync.cli.terminal import Cell, Column, print_json, print_line, print_table, remark
from datasync.cli.wording import in_commands
from datasync.models.words import amounts_text, byte_text
from datasync.models.sync_models import State

if TYPE_CHECKING:  # the wire's shapes take long to load: not for --help
    from datasync.models.s3_models import (
        FailureEntry,
        FileEntry,
        RunReport,
        StatsReport,
        StatusReport,
    )

FILE_COLUMNS = (
    Column("key"),
    Column("size", "bytes"),
    Column("modified", "time"),
    Column("state", "word"),
    Column("verdict", "word"),
    Column("path"),
)
FAILURE_COLUMNS = (
    Column("key"),
    Column("state", "word"),
    Column("reason"),
    Column("tries", "word"),
    Column("next try", "time"),
    Column("hint"),
)

Token = Annotated[str | None, typer.Option(help="Go on where the last page ended.")]


def status(json: Json = False) -> int:
    """In sync? What is pending, failed or held? Exits with 0 only when in sync."""
    with asked() as service:
        report = service.status()
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_status(report)
    if report.in_sync:
        return exits.DONE
    return exits.REFUSED if report.held_run is not None else exits.FAILED


def failures(
    prefix: Prefix = "", limit: Limit = 100, token: Token = None, json: Json = False
) -> int:
    """List the keys that are not right, and why. Exits with 1 when there are any."""
    with asked() as service:
        page = service.failures(prefix, token, limit)
        looks_at_all = not (json or prefix or token)
        left_out = _left_out(service.stats()) if looks_at_all else ""
    if json:
        print_json(page.model_dump(mode="json"))
    else:
        print_table(FAILURE_COLUMNS, [_failure_cells(entry) for entry in page.failures])
        if page.next_token is not None:
            remark(f"There are more: the same command with --token {page.next_token}")
        if not page.failures:
            remark("No failures.")
        if left_out:
            remark(left_out)
    return exits.FAILED if page.failures else exits.DONE


def files(
    prefix: Prefix = "",
    limit: Limit = 1000,
    token: Token = None,
    state: Annotated[
        list[State] | None, typer.Option(help="Only keys in this state; may be repeated.")
    ] = None,
    s3: Annotated[bool, typer.Option("--s3", help="List the bucket itself, live.")] = False,
    json: Json = False,
) -> int:
    """List what is mirrored."""
    if s3 and state:
        raise typer.BadParameter("--state is for the mirror; it cannot go with --s3")
    with asked() as service:
        if s3:
            page = service.listed(prefix, token, limit)
        else:
            page = service.files(prefix, token, limit, state or ())
    if json:
        print_json(page.model_dump(mode="json"))
        return exits.DONE
    print_table(FILE_COLUMNS, [_file_cells(entry) for entry in page.files])
    if page.next_token is not None:
        remark(f"There are more: the same command with --token {page.next_token}")
    return exits.DONE


def _file_cells(entry: "FileEntry") -> tuple[Cell, ...]:
    modified = entry.last_modified.timestamp()
    return (entry.key, entry.size, modified, entry.state, entry.verdict, entry.path)


def _failure_cells(entry: "FailureEntry") -> tuple[Cell, ...]:
    next_try = entry.next_try.timestamp() if entry.next_try else None
    return (
        entry.key,
        entry.state,
        entry.reason,
        entry.attempts or None,
        next_try,
        in_commands(entry.hint),
    )


def _print_status(report: "StatusReport") -> None:
    if report.in_sync:
        print_line("in sync: the mirror is equal to the bucket", style="green")
    else:
        print_line("not in sync", style="yellow")
    for concern in report.concerns:
        print_line(f"- {concern}", style="yellow")
    print_table((Column("fact", "word"), Column("value")), _status_facts(report))


def _status_facts(report: "StatusReport") -> list[tuple[str, Cell]]:
    stats = report.stats
    return [
        ("objects", f"{stats.objects:,} ({byte_text(stats.bytes)})"),
        ("pending", f"{stats.pending:,}"),
        ("failed", f"{stats.failed:,}"),
        ("not mirrored", _unmirrored(stats)),
        ("oldest pending", f"{report.lag_seconds:.0f} s"),
        ("engine", report.engine or "runs in no process"),
        *((f"run {run.id}", _run_line(run)) for run in report.unfinished_runs),
        ("last run", "none yet" if stats.last_run is None else _run_line(stats.last_run)),
    ]


def _unmirrored(stats: "StatsReport") -> str:
    return f"{stats.archived:,} archived, {stats.oversize:,} oversize, {stats.rejected:,} rejected"


def _left_out(stats: "StatsReport") -> str:
    """What of the bucket is not mirrored though nothing failed; nothing where all is."""
    counts = {"archived": stats.archived, "oversize": stats.oversize}
    if not any(counts.values()):
        return ""
    options = " ".join(f"--state {state}" for state, count in counts.items() if count)
    told = amounts_text(counts)
    return f"Not mirrored, and no failure: {told}. List: datasync files {options}"


def _run_line(run: "RunReport") -> str:
    when = run.finished or run.started or run.requested
    done = f"{run.progress.files_done:,} of {run.progress.files_planned:,} done"
    return f"{run.kind} {run.id} {run.status}, {done}, {when:%Y-%m-%d %H:%M:%S} UTC"
