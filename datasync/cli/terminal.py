"""Writes to the terminal: tables, lines, JSON; safe for any key, quiet about colours in a pipe.

Everything that comes from outside (keys, messages of servers, paths) is escaped here and never
read as markup. Knows no ledger, no settings and no run.

What goes to a file or into a pipe is written as it is; Rich is loaded for a terminal only
(`console`), for loading it takes longer than most commands.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

from datasync.cli.exits import PIPE_CLOSED
from datasync.utils.logger import escape_key

if TYPE_CHECKING:
    from rich.console import Console

ROOMY_COLUMNS = 100
HALF_A_YEAR_SECONDS = 182 * 86400
# By these Rich may find a terminal where there is none, or none where there is one.
_SAY_OTHERWISE = ("FORCE_COLOR", "TTY_COMPATIBLE")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")

Cell = str | int | float | None
Part = tuple[str, str]  # a text, and its style on a terminal


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `kind` is "text", "word" (never broken), "bytes" (a count) or "time" (seconds
    since the epoch)."""

    title: str
    kind: str = "text"


def terminal(*, stderr: bool = False) -> "Console | None":
    """The console of results, or with `stderr` of remarks; None where no terminal is.

    Made on call, because tests and pipes replace the stream.
    """
    if _is_plain(_stream(stderr)):
        return None
    from datasync.cli.console import QuietConsole

    console = QuietConsole(stderr)
    return console if console.is_terminal else None


def _stream(stderr: bool) -> TextIO:
    return sys.stderr if stderr else sys.stdout


def _is_plain(stream: TextIO | None) -> bool:
    """Whether it is surely no terminal; else Rich has to tell."""
    if stream is None or stream.closed or any(name in os.environ for name in _SAY_OTHERWISE):
        return False
    return not stream.isatty()


def silence_stdout() -> None:
    """Let the interpreter flush stdout into nothing at exit; its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: object) -> None:
    """Print one JSON document on stdout; ASCII only, so that no key can steer a terminal."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def print_line(text: str, style: str = "") -> None:
    """Print one line of result."""
    print_parts((escape_key(text), style))


def remark(text: str, style: str = "") -> None:
    """Print one line beside the result, on stderr."""
    print_parts((escape_key(text), style), stderr=True)


def print_error(message: str, hint: str = "") -> None:
    """Print what happened and what to do, one line each, on stderr."""
    print_parts((f"error: {_lines(message)}", "bold red"), stderr=True)
    if hint:
        print_parts((f"hint:  {_lines(hint)}", "bold"), stderr=True)


def print_parts(*parts: Part, stderr: bool = False) -> None:
    """Print one line made of parts that are escaped already."""
    if _is_plain(stream := _stream(stderr)):
        _write(stream, "".join(text for text, _style in parts) + "\n", flush=True)
        return
    from datasync.cli.console import print_styled

    print_styled(parts, stderr)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """Print rows: a table on a terminal, else tab-separated lines for other programs.

    In a pipe there is no header, sizes are plain byte counts and times are ISO 8601.
    """
    console = terminal()
    if console is None:
        for row in rows:
            print_line_raw("\t".join(plain(c, v) for c, v in zip(columns, row, strict=True)))
        return
    from datasync.cli.console import table

    console.print(table(columns, rows, console.width < ROOMY_COLUMNS), soft_wrap=False)


def print_line_raw(text: str) -> None:
    """Print a line whose parts are escaped already and joined by tabs."""
    _write(sys.stdout, text + "\n")


def _write(stream: TextIO, text: str, flush: bool = False) -> None:
    """Write, or leave without a word when the reader of a pipe has gone away."""
    try:
        stream.write(text)
        if flush:
            stream.flush()
    except BrokenPipeError:
        leave()


def leave() -> NoReturn:
    """End the command quietly: the reader of its output has gone away."""
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


def byte_text(count: float) -> str:
    """Bytes in the largest unit that keeps the number at or above one: "1.4 GiB"."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} B" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A duration as a clock shows it: "0:42", "1:02:03"."""
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def _lines(text: str) -> str:
    return "\n       ".join(escape_key(line) for line in text.splitlines())
