"""`datasync trash list` and `trash restore`: what was taken away, and the way back."""

from collections.abc import Iterator, Sequence
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

if TYPE_CHECKING:
    from datasync.services.storage.mirror import Mirror
    from datasync.services.storage.trash import Restored, TrashEntry

COLUMNS = (
    Column("entry"),
    Column("size", "bytes"),
    Column("trashed", "time"),
    Column("why", "word"),
)
PAGE = 1000

trash = typer.Typer(help="Files that were taken away: list them, bring them back.")

PathPrefix = Annotated[str, typer.Option(help="Only paths in the mirror that begin with this.")]


@trash.command("list")
def list_entries(prefix: PathPrefix = "", limit: Limit = 1000, json: Json = False) -> int:
    """List what is in the trash, oldest first. Nothing in it is kept beyond its time."""
    with opened() as parts:
        found = list(islice(_entries(parts.mirror, prefix), limit + 1))
    shown, more = found[:limit], len(found) > limit
    if json:
        print_json({"entries": [_document(entry) for entry in shown], "complete": not more})
        return exits.DONE
    print_table(COLUMNS, [(e.id, e.size, e.trashed_at, e.label) for e in shown])
    if more:
        remark("There are more; --limit shows more, --prefix fewer.")
    if not shown:
        remark("The trash is empty." if not prefix else "Nothing in the trash begins with that.")
    return exits.DONE


@trash.command("restore")
def restore(
    entries: Annotated[
        list[str] | None, typer.Argument(help="Entries, as in: datasync trash list.")
    ] = None,
    prefix: PathPrefix = "",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a file that is there; it goes to the trash."),
    ] = False,
    json: Json = False,
) -> int:
    """Bring files back to where they were: entries by name, or the newest of each path."""
    if bool(entries) == bool(prefix):
        raise typer.BadParameter("give either entries, or --prefix for all paths below it")
    with opened() as parts:
        done = _restore(parts.mirror, entries or [], prefix, overwrite)
    failed = [item for item in done if item.error is not None]
    if json:
        print_json({"restored": [_restored_document(item) for item in done]})
    else:
        _print_restored(done)
    return exits.FAILED if failed else exits.DONE


def _entries(mirror: "Mirror", prefix: str) -> "Iterator[TrashEntry]":
    after = ""
    while page := mirror.trash_entries(prefix, after, PAGE):
        yield from page
        after = page[-1].id


def _restore(
    mirror: "Mirror", entries: Sequence[str], prefix: str, overwrite: bool
) -> "list[Restored]":
    if prefix:
        return mirror.restore(prefix=prefix, overwrite=overwrite)
    return [item for entry in entries for item in mirror.restore(entry, overwrite=overwrite)]


def _print_restored(done: "Sequence[Restored]") -> None:
    for item in done:
        if item.error is not None:
            print_error(f"{item.entry.id}: {item.error}", in_commands(item.error.hint))
        else:
            print_line(f"restored {item.entry.path}")
    if not done:
        remark("Nothing in the trash begins with that.")


def _document(entry: "TrashEntry") -> dict[str, object]:
    return {
        "id": entry.id,
        "path": entry.path,
        "size": entry.size,
        "trashed_at": iso_time(entry.trashed_at),
        "label": entry.label,
    }


def _restored_document(item: "Restored") -> dict[str, object]:
    error = None if item.error is None else str(item.error)
    return {"id": item.entry.id, "path": item.entry.path, "error": error}
