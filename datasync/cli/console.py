"""The console of Rich that results, remarks and errors are printed on."""

from typing import NoReturn

import typer
from rich.console import Console

from datasync.cli.exits import PIPE_CLOSED
from datasync.cli.terminal import silence_stdout


class QuietConsole(Console):
    """Prints text as it is; leaves without a word when the reader of a pipe has gone away."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> NoReturn:
        self.quiet = True
        silence_stdout()
        raise typer.Exit(PIPE_CLOSED)
