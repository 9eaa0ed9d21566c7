"""Shows a run while it goes on: a bar on a terminal, a line every few seconds elsewhere.

Writes to stderr only, so that stdout holds the result and nothing else. Reads runs; starts and
stops none.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from datasync.cli.pace import Pace, objects_done
from datasync.cli.terminal import remark, remarks
from datasync.controllers.tallies import counted
from datasync.models.words import byte_text, duration_text
from datasync.models.sync_models import Run, RunCounts, RunKind, RunStatus
from datasync.utils.logger import escape_key

LINE_EVERY_SECONDS = 5.0
BAR_COLUMNS = 24

_VERBS = {RunKind.RECONCILE: "Syncing", RunKind.VERIFY: "Verifying"}
_LONGEST_WORD = max(map(len, _VERBS.values()))


class Display(Protocol):
    """Shows the state of one run."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, run: Run) -> None:
        """Show the run as it is now; cheap, may be called many times a second."""

    def say(self, text: str) -> None:
        """Print one remark that stays on the screen."""


class Silence:
    """Shows nothing: for `--json` in a pipe."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, run: Run) -> None:
        return None

    def say(self, text: str) -> None:
        remark(text)


class Lines(Silence):
    """A line every few seconds, and only when something changed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace()
        self._said = ""
        self._next: float | None = None

    def show(self, run: Run) -> None:
        now = self._clock()
        self._pace.add(now, run.counts)
        if self._next is None:
            self._next = now + LINE_EVERY_SECONDS
        if now < self._next:
            return
        self._next = now + LINE_EVERY_SECONDS
        text = progress_text(run, self._pace)
        if text != self._said:
            self._said = text
            self.say(text)


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
            description=_VERBS[run.kind] if run.status is not RunStatus.QUEUED else "Waiting",
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


def display_for(json_wanted: bool) -> Display:
    """The display that suits where stderr goes."""
    console = remarks()
    if console.is_terminal:
        return Bar(console)
    return Silence() if json_wanted else Lines()


def progress_text(run: Run, pace: Pace) -> str:
    """The state of a run in one plain line."""
    return f"{_VERBS[run.kind].lower()}: {figures(run.counts, pace)}"


def figures(counts: RunCounts, pace: Pace, room: int | None = None) -> str:
    """Objects, bytes, speed, time left and failures, as far as they are known.

    Where there is no room (in characters) for all, first the speed goes, then the bytes, then
    the time.
    """
    if not counts.listed and not counts.planned:
        return "listing the bucket"
    if not counts.planned:
        return f"{counted(counts.listed, 'key')} compared, nothing to do so far"
    parts = {"objects": f"{objects_done(counts):,} of {counts.planned:,} objects"}
    if counts.bytes_planned:
        parts["bytes"] = f"{byte_text(counts.bytes)} of {byte_text(counts.bytes_planned)}"
        parts["speed"] = f"{byte_text(pace.bytes_per_second)}/s"
    left = pace.seconds_left(counts)
    if left is not None:
        parts["left"] = f"{duration_text(left)} left"
    parts["failed"] = f"{counts.failed:,} failed"
    return _fitted(parts, room)


def _fitted(parts: dict[str, str], room: int | None) -> str:
    for name in ("", "speed", "bytes", "left"):
        parts.pop(name, None)
        text = ", ".join(parts.values())
        if room is None or len(text) <= room:
            break
    return text
