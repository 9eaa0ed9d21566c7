"""The room on the disk: how much may still be written, and what is promised already.

Knows no file and no key.
"""

import os
import threading
import time
from collections.abc import Callable

from datasync.errors import DiskFull
from datasync.models.words import byte_text

# So long one look at the disk serves: a file of a few KiB takes less time than a look.
LOOK_SECONDS = 0.02


class Room:
    """The free space of the disk, less what is promised to files on their way.

    Safe to use from several threads; processes do not know of one another's promises.
    """

    def __init__(
        self,
        folder: int,
        min_free_percent: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._min_free_percent = min_free_percent
        self._clock = clock
        self._reserved = 0
        self._released = 0  # since the look; it may have been written, and counts as if it were
        self._looked_at = float("-inf")
        self._free, self._floor = 0, 0.0
        self._counts = True
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """Promise `size` more bytes, until they are written or let go.

        Raises: DiskFull, when that would leave less free than the limit; OSError.
        """
        with self._lock:
            self._require(size)
            self._reserved += size

    @property
    def promised(self) -> int:
        """Bytes that are promised and not written yet."""
        return self._reserved

    def release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size
            self._released += size

    def require(self, size: int) -> None:
        """Raises: DiskFull, when `size` more bytes could not be promised now; OSError."""
        with self._lock:
            self._require(size)

    def _require(self, size: int) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS and self._has_room(size):
            return
        self._look(now)
        if not self._has_room(size):
            promised = f" ({byte_text(self._reserved)} of them promised)" if self._reserved else ""
            needed = f"{byte_text(size)} are needed and " if size else ""
            raise DiskFull(
                f"{byte_text(self._free)} are free{promised}, {needed}"
                f"{self._min_free_percent:g} % ({byte_text(self._floor)}) must stay free"
            )

    def _look(self, now: float) -> None:
        space = os.statvfs(self._folder)
        self._counts = space.f_blocks != 0  # some file systems do not count
        self._free = space.f_bavail * space.f_frsize
        self._floor = space.f_blocks * space.f_frsize * self._min_free_percent / 100.0
        self._looked_at, self._released = now, 0

    def _has_room(self, size: int) -> bool:
        left = self._free - self._released - self._reserved - size
        return not self._counts or left >= max(0.0, self._floor)
