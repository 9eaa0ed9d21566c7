"""Writes to the terminal: tables, lines, JSON; safe for any key, quiet about colours in a pipe.

Everything that comes from outside (keys, messages of servers, paths) is escaped here and never
read as markup. Knows no ledger, no settings and no run.
"""

import io
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from datasync.cli.exits import PIPE_CLOSED
from datasync.models.words import byte_text
from datasync.utils.logger import escape_key

if TYPE_CHECKING:  # Rich takes long to load: only where something is printed with it
    from rich.console import Console

ROOMY_COLUMNS = 100
HALF_A_YEAR_SECONDS = 182 * 86400

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `kind` is "text", "word" (never broken), "bytes" (a count) or "time" (seconds
    since the epoch)."""

    title: str
    kind: str = "text"


def output() -> "Console":
    """The console of results: stdout. Made on call, because tests and pipes replace the stream."""
    from datasync.cli.console import QuietConsole

    return QuietConsole()


def remarks() -> "Console":
    """The console of progress, remarks and errors: stderr."""
    from datasync.cli.console import QuietConsole

    return QuietConsole(stderr=True)


def silence_stdout() -> None:
    """Let the interpreter flush stdout into nothing at exit; its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """Print one JSON document on stdout; ASCII only, so that no key can steer a terminal."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def print_line(text: str, style: str = "") -> None:
    """Print one line of result."""
    output().print(escape_key(text), style=style)


def remark(text: str, style: str = "") -> None:
    """Print one line beside the result, on stderr."""
    remarks().print(escape_key(text), style=style)


def print_error(message: str, hint: str = "") -> None:
    """Print what happened and what to do, one line each, on stderr."""
    from rich.text import Text

    console = remarks()
    console.print(Text("error: ", style="bold red") + Text(_lines(message)))
    if hint:
        console.print(Text("hint:  ", style="bold") + Text(_lines(hint)))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows: a table on a terminal, else tab-separated lines for other programs.

    In a pipe there is no header, sizes are plain byte counts and times are ISO 8601.
    """
    console = output()
    if not console.is_terminal:
        for row in rows:
            print_line_raw("\t".join(plain(c, v) for c, v in zip(columns, row, strict=True)))
        return
    from rich.table import Table
    from rich.text import Text

    gap = 1 if console.width < ROOMY_COLUMNS else 2
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.kind == "bytes" else "left",
            overflow="fold",
            no_wrap=column.kind != "text",
        )
    for row in rows:
        table.add_row(*(Text(pretty(c, v)) for c, v in zip(columns, row, strict=True)))
    console.print(table, soft_wrap=False)


def show_lines() -> None:
    """From now on each line of stdout is seen as it is printed, in a pipe as well."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def print_line_raw(text: str) -> None:
    """Print a line whose parts are escaped already and joined by tabs."""
    try:
        sys.stdout.write(text + "\n")
    except BrokenPipeError:
        silence_stdout()
        raise typer.Exit(PIPE_CLOSED) from None


def plain(column: Column, value: Cell) -> str:
    """A cell for another program."""
    if value is None:
        return ""
    if column.kind == "time":
        return iso_time(float(value))
    return escape_key(str(value))


def pretty(column: Column, value: Cell) -> str:
    """A cell for a reader."""
    if value is None:
        return "-"
    if column.kind == "bytes":
        return byte_text(int(value))
    if column.kind == "time":
        return time_text(float(value))
    return escape_key(str(value))


def time_text(at: float, now: float | None = None) -> str:
    """Seconds since the epoch as `ls` shows a time: "Nov 25 19:31", or "Nov 25 2024" if old."""
    present = time.time() if now is None else now
    form = "%b %d %H:%M" if abs(present - at) < HALF_A_YEAR_SECONDS else "%b %d %Y"
    return datetime.fromtimestamp(at).strftime(form)


def iso_time(at: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _lines(text: str) -> str:
    return "\n       ".join(escape_key(line) for line in text.splitlines())
