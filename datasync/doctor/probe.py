"""A folder in the mirror's own folder to try the file system in, gone when the doctor has gone.

Whatever it had to make on the way there (the mirror's directory, `.datasync/`) goes as well, so
that looking at a directory does not make it a mirror. Knows no checks.
"""

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datasync.errors import Interrupted, MirrorUnavailable
from datasync.services.storage.directories import Directories, translating
from datasync.services.storage.paths import INTERNAL

NAME = re.compile(r"doctor-[0-9a-f]{16}")
CLOSE_SECONDS = 3.0
ABANDONED_SECONDS = 3600.0
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class ProbeFolder:
    """A fresh folder `.datasync/doctor-...`. Its users may be on other threads than its owner."""

    def __init__(self, root: Path) -> None:
        """Touch nothing."""
        self.name = f"doctor-{secrets.token_hex(8)}"
        self._root = root
        self._made: list[Path] = []  # the deepest first
        self._folder: int | None = None  # descriptor of `.datasync`
        self._handle: int | None = None  # and of the folder in it
        self._users = 0
        self._idle = threading.Condition()
        self._closed = False

    def open(self) -> bool:
        """Make the folder; whether the mirror's directory had to be made for it.

        Raises: MirrorUnavailable, PathConflict (something else is in the way), MirrorError.
        """
        with self._idle:
            if self._closed:
                raise Interrupted("the probe is over")
            missing = self._make_root()
            with translating(INTERNAL), Directories(self._opened_root()) as directories:
                kept = directories.kind(INTERNAL) is not None
                folder = directories.open(INTERNAL, create=True)
                if not kept:
                    self._made.insert(0, self._root / INTERNAL)
                _sweep(folder)
                self._folder = os.dup(folder)
                self._handle = os.dup(directories.open(f"{INTERNAL}/{self.name}", create=True))
        return missing

    def _make_root(self) -> bool:
        try:
            missing = [each for each in (self._root, *self._root.parents) if not each.exists()]
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MirrorUnavailable(
                f"the mirror's folder cannot be made: {error.strerror}"
            ) from error
        self._made = missing
        return bool(missing)

    def _opened_root(self) -> int:
        try:
            return os.open(self._root, _ROOT)
        except OSError as error:
            raise MirrorUnavailable(
                f"the mirror's folder cannot be opened: {error.strerror}"
            ) from error

    @contextmanager
    def use(self) -> Iterator[int]:
        """A descriptor of the folder; it lasts as long as the block. Raises: Interrupted."""
        with self._idle:
            if self._handle is None or self._closed:
                raise Interrupted("the probe is over")
            self._users += 1
        try:
            yield self._handle
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> bool:
        """Remove everything that was made, once nobody uses it; False when somebody hangs in it.

        A later doctor removes what is left then.
        """
        with self._idle:
            self._closed = True
            if not self._idle.wait_for(lambda: self._users == 0, timeout_seconds):
                return False
            if self._folder is not None:
                shutil.rmtree(self.name, ignore_errors=True, dir_fd=self._folder)
            for handle in (self._handle, self._folder):
                if handle is not None:
                    os.close(handle)
            self._handle = self._folder = None
            for folder in self._made:
                with suppress(OSError):  # someone has begun to use it
                    folder.rmdir()
        return True


def _sweep(folder: int) -> None:
    """Remove what a doctor left that was killed."""
    old = time.time() - ABANDONED_SECONDS
    for name in os.listdir(folder):
        with suppress(OSError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if NAME.fullmatch(name) and status.st_mtime < old:
                shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
