"""What the demo shows: where everything is, and each file as it arrives or goes.

Looks at the directory itself, so that what it shows is what is on disk.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from datasync.demo.folder import PRIVATE
from datasync.demo.shell import lines
from datasync.utils.logger import escape_key

Seen = dict[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of a running demo are."""

    service: str
    bucket: str
    root: Path
    objects: int
    has_put: bool
    variables: Mapping[str, str]
    port_note: str = ""


def banner(places: Places) -> Panel:
    """The panel that says what is running where, and what to paste."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _rows(places):
        table.add_row(name, Text(text))
    return Panel(table, title="DataSync demo", title_align="left", subtitle="Ctrl-C stops all")


def _rows(places: Places) -> Iterator[tuple[str, str]]:
    yield "Dashboard", places.service + places.port_note
    yield "API docs", f"{places.service}/docs"
    yield "Health", f"{places.service}/sync/health"
    yield "Bucket", f"{places.bucket} ({places.objects} objects, a local AWS on this machine only)"
    yield "Forwarder", "lambda/s3_lambda_handler.py, called by the bucket's notifications"
    yield "Files", str(places.root)


def commands(places: Places) -> list[str]:
    """Commands that put an object, the surest first."""
    curl = f"curl -X PUT --data-binary Hello {places.bucket}/hello.txt"
    return [f'{program()} demo put hello.txt "Hello"', curl] if places.has_put else [curl]


def looking(places: Places) -> list[str]:
    """Commands that point a shell's command line at the demo, and a first look."""
    pointing = [f'eval "$({program()} demo env)"']
    if not places.has_put:
        pointing = list(lines(places.variables))
    return [*pointing, f"{program()} status"]


def program() -> str:
    """How a shell anywhere on this machine starts this very program."""
    installed = Path(sys.executable).parent / "datasync"
    if installed.is_file():
        return shlex.quote(str(installed))
    return f"{shlex.quote(sys.executable)} -m datasync"


def show(console: Console, places: Places) -> None:
    """Print the banner and the commands; each command stays on one line, to be pasted."""
    console.print(banner(places))
    console.print("Paste this into another terminal and watch the file appear here:\n")
    first, *others = commands(places)
    console.print(Text(f"    {first}\n", style="bold green"), soft_wrap=True)
    for other in others:
        console.print(Text(f"or  {other}\n"), soft_wrap=True)
    console.print("And to look at it with the command line (sync, plan, files, runs, verify):\n")
    for line in looking(places):
        console.print(Text(f"    {line}", style="bold green"), soft_wrap=True)
    console.print()


def look(root: Path) -> Seen:
    """Every file below the root, by path relative to it."""
    return {path: mark for path, mark in _walk(root, "")}


def _walk(folder: Path, below: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # it went away while we looked; the next look is right
    for entry in entries:
        if entry.name == PRIVATE and not below:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{below}{entry.name}/")
            continue
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError:
            continue
        yield below + entry.name, (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def changes(before: Seen, after: Seen) -> Iterator[Text]:
    """One line for each file that came, changed or went."""
    for path in sorted(after.keys() | before.keys()):
        if before.get(path) == after.get(path):
            continue
        yield _change(path, before.get(path), after.get(path))


def _change(path: str, was: tuple[int, int, int] | None, now: tuple[int, int, int] | None) -> Text:
    clock = datetime.now().strftime("%H:%M:%S")
    if now is None:
        return Text.assemble((clock, "dim"), ("  - ", "red"), escape_key(path))
    sign, style = ("+", "green") if was is None else ("~", "yellow")
    return Text.assemble(
        (clock, "dim"), (f"  {sign} ", style), escape_key(path), (f"  {decimal(now[1])}", "dim")
    )
