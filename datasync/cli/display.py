"""Shows a run while it goes on: a bar on a terminal, a line every few seconds elsewhere.

Writes to stderr only, so that stdout holds the result and nothing else. Reads runs; starts and
stops none.
"""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from datasync.cli.pace import Pace, objects_done
from datasync.cli.terminal import remark, remarks
from datasync.controllers.tallies import counted
from datasync.models.words import byte_text, duration_text
from datasync.models.sync_models import Run, RunCounts, RunKind

LINE_EVERY_SECONDS = 5.0

VERBS = {RunKind.RECONCILE: "Syncing", RunKind.VERIFY: "Verifying"}


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


def display_for(json_wanted: bool) -> Display:
    """The display that suits where stderr goes."""
    if json_wanted and not sys.stderr.isatty():
        return Silence()
    console = remarks()
    if console.is_terminal:
        from datasync.cli.bar import Bar

        return Bar(console)
    return Silence() if json_wanted else Lines()


def progress_text(run: Run, pace: Pace) -> str:
    """The state of a run in one plain line."""
    return f"{VERBS[run.kind].lower()}: {figures(run.counts, pace)}"


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
