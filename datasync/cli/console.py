"""What a terminal shows beyond plain lines: styles and tables. The part that needs Rich."""

from collections.abc import Iterable, Sequence
from typing import NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from datasync.cli.terminal import Cell, Column, Part, leave, pretty


class QuietConsole(Console):
    """A console that leaves without a word when the reader of a pipe has gone away."""

    def __init__(self, stderr: bool) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        leave()


def print_styled(parts: Sequence[Part], stderr: bool) -> None:
    """Print one line made of parts, each in its style."""
    line = Text.assemble(*parts) if len(parts) > 1 else Text(*parts[0])
    QuietConsole(stderr).print(line)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], narrow: bool) -> Table:
    """Rows for a reader, under bold titles."""
    made = Table(
        box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0), header_style="bold"
    )
    for column in columns:
        made.add_column(
            column.title,
            justify="right" if column.kind == "bytes" else "left",
            overflow="fold",
            no_wrap=column.kind != "text",
        )
    for row in rows:
        made.add_row(*(Text(pretty(c, v)) for c, v in zip(columns, row, strict=True)))
    return made
