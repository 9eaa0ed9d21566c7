"""What has grown old, cleared away in a thread of its own: once an hour, and sooner without room.

Events, runs and a stop never wait for it. Knows no bucket and no other part of the engine.
"""

import threading
import time
from collections.abc import Callable

from datasync.errors import InternalFault
from datasync.models.sync_models import SyncOptions
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.utils.logger import get_logger

HOUSEKEEPING_SECONDS = 3600.0
RELIEF_SECONDS = 60.0
# What went to the trash this lately is nobody's to remove, however little room there is: time to
# see that something is wrong, and to stop it.
KEPT_SECONDS = 3600.0


class Housekeeping:
    """Empties the trash and shortens the ledger's history; `failed` hears of what went wrong."""

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._failed = failed
        self._clock = clock
        self._due_at = self._relief_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether a round is under way."""
        return self._thread is not None and self._thread.is_alive()

    def look(self, now: float) -> None:
        """Begin what it is time for, if the last round is over. `now` is of a steady clock."""
        if self.busy:
            return
        if now >= self._due_at:
            self._due_at = now + HOUSEKEEPING_SECONDS
            # The trash first: on a disk that is full, the ledger can do nothing before.
            self._begin(self._clear_trash, self._bound_trash, self._clear_history)
        elif now >= self._relief_at:
            self._begin(self._relieve)
        else:
            return
        self._relief_at = now + RELIEF_SECONDS

    def stop(self) -> None:
        """Begin nothing more; what is under way ends at its next file, or its next rows."""
        self._stopping.set()

    def join(self, timeout_seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _begin(self, *steps: Callable[[], None]) -> None:
        # A daemon: a disk that hangs must not keep the process from ending.
        thread = threading.Thread(
            target=self._clear, args=(steps,), name="housekeeping", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # nothing else must wait for that
            self._failed(InternalFault(f"no thread can be started to clear up: {error}"))
        else:
            self._thread = thread

    def _clear(self, steps: tuple[Callable[[], None], ...]) -> None:
        for clear in steps:
            if self._stopping.is_set():
                return
            try:
                clear()
            except Exception as error:  # the edge of this thread; the next one has its turn
                if not self._stopping.is_set():  # else its ledger may be closed by now
                    self._failed(error)

    def _clear_trash(self) -> None:
        retention = self._options.trash_retention_seconds
        self._mirror.prune_trash(retention, self._clock(), self._stopping.is_set)

    def _bound_trash(self) -> None:
        self._shrink(self._options.trash_max_percent)

    def _relieve(self) -> None:
        self._shrink(None)  # room is a number that is asked for; the trash has to be weighed

    def _shrink(self, max_percent: float | None) -> None:
        emptied = self._mirror.shrink_trash(
            KEPT_SECONDS, self._clock(), self._stopping.is_set, max_percent=max_percent
        )
        if emptied.files:
            get_logger("datasync.engine").warning(
                "trash emptied before its time: it was too large, or the disk too full",
                files=emptied.files,
                bytes=emptied.bytes,
            )

    def _clear_history(self) -> None:
        self._ledger.prune(self._clock(), stopped=self._stopping.is_set)
