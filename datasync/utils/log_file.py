"""The rotated log file, shared by processes. Takes lines as they are; knows not how they are made.

Apart from `logger`, which everything imports: the library that locks and rotates is loaded only
where a file is written.
"""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from concurrent_log_handler import ConcurrentRotatingFileHandler

FILE_BYTES = 10 * 2**20
FILE_COUNT = 5
RETRY_SECONDS = 1.0  # between two tries of a file that could not be written


class LogFile(ConcurrentRotatingFileHandler):
    """A failing disk is reported once per outage: `failed` gets the file's path and the reason.

    Its lock file `.__<name>.lock` lies beside it, where every process that may write the log
    finds it with the same rights.
    """

    def __init__(self, path: Path, failed: Callable[[str, str], None]) -> None:
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(message)s"))
        self._failed = failed
        self._failed_at: float | None = None
        self._over = False

    def write(self, text: str) -> None:
        """Append whole lines under one lock. Never raises OSError."""
        if self._failed_at is not None and time.monotonic() - self._failed_at < RETRY_SECONDS:
            return
        failure = self._failed_at
        self.handle(logging.LogRecord("datasync", logging.INFO, "", 0, text, None, None))
        if self._failed_at == failure:
            self._failed_at = None

    def emit(self, record: logging.LogRecord) -> None:
        if not self._over:
            super().emit(record)

    def end(self) -> None:
        """Close it for good: a line that another thread is about to write must not open it anew.

        Raises: OSError.
        """
        self.acquire()
        try:
            self._over = True
            self.close()
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        first = self._failed_at is None
        self._failed_at = time.monotonic()
        with suppress(OSError):
            self.close()  # drops what is buffered; the next try opens it anew
        if first:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._failed(self.baseFilename, reason)
