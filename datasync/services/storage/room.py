"""The room on the disk: how much may still be written, and what is promised already.

Knows no file and no key.
"""

import os
import threading

from datasync.errors import DiskFull


class Room:
    """The free space of the disk, less what is promised to files on their way.

    Safe to use from several threads; processes do not know of one another's promises.
    """

    def __init__(self, folder: int, min_free_percent: float) -> None:
        self._folder = folder
        self._min_free_percent = min_free_percent
        self._reserved = 0
        self._lock = threading.Lock()

    def reserve(self, size: int) -> None:
        """Promise `size` more bytes, until they are written or let go.

        Raises: DiskFull, when that would leave less free than the limit; OSError.
        """
        with self._lock:
            self._require(size)
            self._reserved += size

    def release(self, size: int) -> None:
        with self._lock:
            self._reserved -= size

    def require(self, size: int) -> None:
        """Raises: DiskFull, when `size` more bytes could not be promised now; OSError."""
        with self._lock:
            self._require(size)

    def _require(self, size: int) -> None:
        space = os.statvfs(self._folder)
        if space.f_blocks == 0:
            return  # a file system that does not count
        total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
        left = free - self._reserved - size
        if left < 0 or left < total * self._min_free_percent / 100.0:
            promised = f" ({_mib(self._reserved)} of them promised)" if self._reserved else ""
            raise DiskFull(
                f"{_mib(free)} are free{promised}, {_mib(size)} are needed and "
                f"{self._min_free_percent:g} % must stay free"
            )


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB"
