"""`datasync trash list` and `trash restore`: what was taken away, and the way back."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from datasync.cli import exits
from datasync.cli.run_commands import Json, Limit
from datasync.cli.session import opened
from datasync.cli.terminal import (
    Column,
    iso_time,
    print_error,
    print_json,
    print_line,
    print_table,
    remark,
)
from datasync.cli.wording import in_commands
from datasync.controllers.tallies import counted

if TYPE_CHECKING:
    from datasync.services.storage.trash import Restored, TrashEntry

COLUMNS = (
    Column("entry"),
    Column("size", "bytes"),
    Column("trashed", "time"),
    Column("why", "word"),
)

trash = typer.Typer(help="Files that were taken away: list them, bring them back.")

PathPrefix = Annotated[
    str | None, typer.Option(help="Only paths in the mirror that begin with this.")
]
Why = Annotated[
    str | None,
    typer.Option(
        help="Only what was taken away by this: events, replaced, or run-17 and the like."
    ),
]


@trash.command("list")
def list_entries(
    prefix: PathPrefix = None, why: Why = None, limit: Limit = 1000, json: Json = False
) -> int:
    """List what is in the trash, oldest first. Nothing in it is kept beyond its time."""
    with opened() as parts:
        entries = parts.controller.trash.entries(prefix or "", why)
        found = list(islice(entries, limit + 1))
    shown, more = found[:limit], len(found) > limit
    if json:
        print_json({"entries": [_document(entry) for entry in shown], "complete": not more})
        return exits.DONE
    print_table(COLUMNS, [(e.id, e.size, e.trashed_at, e.label) for e in shown])
    if more:
        remark("There are more; --limit shows more, --prefix and --why fewer.")
    if not shown:
        remark(_nothing(prefix or why))
    return exits.DONE


@trash.command("restore")
def restore(
    entries: Annotated[
        list[str] | None, typer.Argument(help="Entries, as in: datasync trash list.")
    ] = None,
    prefix: PathPrefix = None,
    run: Annotated[
        int | None, typer.Option(min=1, help="Only what this run deleted, as in: datasync runs.")
    ] = None,
    why: Why = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a file that is there; it goes to the trash."),
    ] = False,
    json: Json = False,
) -> int:
    """Bring files back to where they were: entries by name, or the newest of each path.

    With --prefix, --run or --why, or several of them: of all paths that they choose.
    A file that no object of the bucket has the name of is left alone by every run from then on.
    """
    chosen = (prefix, run, why) != (None, None, None)
    if bool(entries) == chosen or (run is not None and why is not None):
        raise typer.BadParameter("give either entries, or --prefix and one of --run and --why")
    with opened() as parts:
        desk = parts.controller.trash
        if entries:
            done = desk.restored(entries, overwrite=overwrite)
        else:
            done = desk.restored_where(prefix or "", run, why, overwrite=overwrite)
        mirrored = desk.mirrored(done)
    if json:
        from datasync.controllers.trash import restored_entry  # the wire's shapes take long to load

        told = [restored_entry(item, mirrored) for item in done]
        print_json({"restored": [each.model_dump(exclude={"hint"}) for each in told]})
    else:
        _print_restored(done)
        _say_what_is_next(done, mirrored)
    failed = [item for item in done if item.error is not None]
    return exits.FAILED if failed else exits.DONE


def _print_restored(done: "Sequence[Restored]") -> None:
    for item in done:
        if item.error is not None:
            print_error(f"{item.entry.id}: {item.error}", in_commands(item.error.hint))
        else:
            print_line(f"restored {item.entry.path}")
    if not done:
        remark(_nothing("chosen"))


def _say_what_is_next(done: "Sequence[Restored]", mirrored: set[str]) -> None:
    count = sum(item.error is None for item in done)
    if count > len(mirrored):
        kept = counted(count - len(mirrored), "file")
        remark(
            f"{kept}: no run touches what no object of the bucket has the name of. "
            "Put them into the bucket to have them mirrored again."
        )
    if mirrored:
        remark(
            f"{counted(len(mirrored), 'file')}: the bucket has an object of that name. The next "
            "sync brings it back, and what was restored goes to the trash again if it differs: "
            "copy it elsewhere, or put it into the bucket.",
            style="yellow",
        )


def _nothing(chosen: object) -> str:
    return "Nothing in the trash is like that." if chosen else "The trash is empty."


def _document(entry: "TrashEntry") -> dict[str, object]:
    return {
        "id": entry.id,
        "path": entry.path,
        "size": entry.size,
        "trashed_at": iso_time(entry.trashed_at),
        "label": entry.label,
    }
