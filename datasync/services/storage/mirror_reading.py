"""The mirror as readers see it: what is at its paths, and the bytes of its files.

Every call goes below the root of now, opened anew and never through a link. Changes nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from datasync.errors import MirrorUnavailable
from datasync.models.figures import DiskUsage
from datasync.models.sync_models import FileStat
from datasync.services.storage.directories import Directories, open_root, translating
from datasync.services.storage.looking import (
    NotAFile,
    are_unchanged,
    disk_usage,
    open_file,
    stat_files,
)


class MirrorReading:
    """What `Mirror` does without changing anything."""

    root: Path
    _identity: tuple[int, int] | None
    _min_free_percent: float

    def usage(self) -> DiskUsage:
        """Of the file system that the mirror is on. Raises: MirrorError."""
        with self._session("the mirror's folder") as directories:
            usage = disk_usage(directories.root)
        floor = round(usage.total_bytes * self._min_free_percent / 100.0)
        return replace(usage, min_free_bytes=floor)

    def stat_many(self, paths: Sequence[str]) -> list[FileStat | None | NotAFile]:
        """What is at each path, without following links; None where nothing is.

        Raises: MirrorUnavailable, MirrorError.
        """
        with self._session("the mirror's folder") as directories:
            return stat_files(directories, paths)

    def are_unchanged(self, files: Iterable[tuple[bytes, int, int]]) -> list[bool]:
        """Whether each path (its UTF-8 bytes) has a file of exactly this size and mtime_ns.

        Raises: MirrorUnavailable, MirrorError.
        """
        with self._session("the mirror's folder") as directories:
            return are_unchanged(directories, files)

    def open(self, path: str) -> int:
        """A descriptor to read a file from; the caller closes it.

        Raises: FileMissing (also for a folder, a link, a device...), MirrorError.
        """
        with self._session(path) as directories:
            return open_file(directories, path)

    @contextmanager
    def reading(self) -> Iterator[Callable[[str], int]]:
        """What opens files as `open` does, many in a row: their folders are gone to once.

        Raises: MirrorError.
        """
        with self._session("the mirror's folder") as directories:

            def open_one(path: str) -> int:
                with translating(path):
                    return open_file(directories, path)

            yield open_one

    # How

    @contextmanager
    def _session(self, what: str) -> Iterator[Directories]:
        """Handles below the root of now, which must be the prepared one if there is one."""
        with Directories(self._open_root()) as directories, translating(what):
            yield directories

    @contextmanager
    def _prepared(self, what: str) -> Iterator[Directories]:
        if self._identity is None:
            raise MirrorUnavailable("the mirror's folder was not prepared")
        with self._session(what) as directories:
            yield directories

    def _open_root(self) -> int:
        root, status = open_root(self.root)
        if self._identity not in (None, (status.st_dev, status.st_ino)):
            os.close(root)
            raise MirrorUnavailable("the mirror's folder is not the one that was prepared")
        return root
