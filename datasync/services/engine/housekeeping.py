"""What has grown old, cleared away once an hour in a thread of its own.

Events, runs and a stop never wait for it. Knows no bucket and no other part of the engine.
"""

import threading
import time
from collections.abc import Callable

from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror

HOUSEKEEPING_SECONDS = 3600.0


class Housekeeping:
    """Empties the trash and shortens the ledger's history; `failed` hears of what went wrong."""

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        trash_retention_seconds: float,
        failed: Callable[[Exception], None],
    ) -> None:
        self._mirror = mirror
        self._ledger = ledger
        self._retention_seconds = trash_retention_seconds
        self._failed = failed
        self._due_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def look(self, now: float) -> None:
        """Begin, if it is time and the last round is over. `now` is of a steady clock."""
        if now < self._due_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._due_at = now + HOUSEKEEPING_SECONDS
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._clear, name="housekeeping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends at its next file, or its next rows."""
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _clear(self) -> None:
        # The trash first: on a disk that is full, the ledger can do nothing before.
        for clear in (self._clear_trash, self._clear_history):
            if self._stopping.is_set():
                return
            try:
                clear()
            except Exception as error:  # the edge of this thread; the other one has its turn
                if not self._stopping.is_set():  # else its ledger may be closed by now
                    self._failed(error)

    def _clear_trash(self) -> None:
        self._mirror.prune_trash(self._retention_seconds, time.time(), self._stopping.is_set)

    def _clear_history(self) -> None:
        self._ledger.prune(time.time(), stopped=self._stopping.is_set)
