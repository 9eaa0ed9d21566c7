"""What failed for want of room on the disk, and when it is worth another try.

Pure: time comes in as an argument. Knows no disk and no ledger.
"""

import threading
from collections.abc import Callable, Iterable

from datasync.errors import DiskFull
from datasync.services.engine.group import Done

LOOK_SECONDS = 5.0  # between two looks at the disk
_LONGEST_SECONDS = 3600.0


class Shortage:
    """Remembers that there was too little room. Times are seconds of a steady clock.

    A disk may have room and refuse all the same (a quota, say): each further try comes later.
    Safe to use from threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._smallest: int | None = None  # bytes that the easiest of them needs
        self._runs: set[int] = set()
        self._pause = LOOK_SECONDS
        self._look_at = 0.0

    def note(self, done: Iterable[Done], now: float) -> None:
        """Remember which of these tasks failed for want of room."""
        short = [item for item in done if _wanted_room(item)]
        if not short:
            return
        with self._lock:
            if now > self._look_at + self._pause:  # the last tries went well
                self._pause = LOOK_SECONDS
            self._look_at = max(self._look_at, now + LOOK_SECONDS)
            sizes = [item.task.listed.size if item.task.listed else 0 for item in short]
            known = sizes if self._smallest is None else [*sizes, self._smallest]
            self._smallest = min(known)
            self._runs.update(item.task.run_id for item in short if item.task.run_id is not None)

    def over(self, now: float, fits: Callable[[int], bool]) -> set[int] | None:
        """The runs whose work can go on now that there is room; None: nothing can."""
        with self._lock:
            if self._smallest is None or now < self._look_at:
                return None
            if not fits(self._smallest):
                self._look_at = now + LOOK_SECONDS
                return None
            self._pause = min(_LONGEST_SECONDS, 2 * self._pause)
            self._look_at = now + self._pause
            self._smallest, runs, self._runs = None, self._runs, set()
            return runs


def _wanted_room(item: Done) -> bool:
    return item.outcome is not None and item.outcome.error == DiskFull.__name__
