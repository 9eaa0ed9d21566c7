"""The bar that shows a run on a terminal."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from datasync.cli.display import VERBS, figures
from datasync.cli.pace import Pace, objects_done
from datasync.models.sync_models import Run, RunStatus
from datasync.utils.logger import escape_key

BAR_COLUMNS = 24

_LONGEST_WORD = max(map(len, VERBS.values()))


class Bar:
    """A progress bar that is drawn again in place."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = console
        self._pace = Pace()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_columns()),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task("Starting", total=None, figures="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, run: Run) -> None:
        self._pace.add(self._clock(), run.counts)
        planned = run.counts.planned
        self._progress.update(
            self._task,
            description=VERBS[run.kind] if run.status is not RunStatus.QUEUED else "Waiting",
            total=planned or None,
            completed=objects_done(run.counts),
            figures=figures(run.counts, self._pace, self._room()),
        )

    def _bar_columns(self) -> int:
        return min(BAR_COLUMNS, self._console.width // 8)

    def _room(self) -> int:
        """Columns for the figures: beside spinner, word, bar and the spaces between."""
        return self._console.width - 1 - _LONGEST_WORD - self._bar_columns() - 3

    def say(self, text: str) -> None:
        self._console.print(Text(escape_key(text)))  # this console knows how to print above the bar
