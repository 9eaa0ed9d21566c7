"""The mirror on disk: the only thing that writes below LOCAL_DOWNLOAD_DIR.

A name in it is always one whole file, old or new. All work is done below a handle of the root,
opened anew for each call and never through a link, so that nothing outside it is ever touched.
Knows no S3, no ledger and no settings.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from datasync.errors import ConfigurationError, DiskFull, MirrorError, MirrorUnavailable
from datasync.models.sync_models import FileStat
from datasync.services.storage import removing
from datasync.services.storage.directories import (
    Directories,
    look,
    make_root,
    translated,
    translating,
)
from datasync.services.storage.durability import Durability
from datasync.services.storage.emptying import Emptied
from datasync.services.storage.letter_case import LetterCase
from datasync.services.storage.looking import NotAFile
from datasync.services.storage.marker import (
    MARKER,
    Marker,
    of_another_bucket,
    prove_marker,
    read_marker,
    write_marker,
)
from datasync.services.storage.mirror_reading import MirrorReading
from datasync.services.storage.mirror_trash import MirrorTrash
from datasync.services.storage.notes import Note, Notes
from datasync.services.storage.paths import INTERNAL, conflict_path_for, keys_above, path_for
from datasync.services.storage.publishing import Publication, Published, Publisher
from datasync.services.storage.room import Room
from datasync.services.storage.staged_file import STAGING, StagedFile, Writer
from datasync.services.storage.staging import Staging, StagingFolder, sweep
from datasync.services.storage.trash import TRASH, Restored, TrashEntry, TrashFolder
from datasync.utils.file_utils import DiskCalls

__all__ = [
    "Emptied",
    "FileStat",
    "Mirror",
    "NotAFile",
    "Note",
    "Publication",
    "Published",
    "Restored",
    "Room",
    "StagedFile",
    "Staging",
    "TrashEntry",
    "Writer",
    "conflict_path_for",
    "keys_above",
    "path_for",
]


@dataclass(frozen=True, slots=True)
class MirrorElsewhere:
    """What another process needs to stage files for a mirror, as it is now."""

    root: Path
    identity: tuple[int, int]
    staging: tuple[int, int]
    token: bytes
    min_free_percent: float

    def open(self, guest: bytes) -> "Mirror":
        """The mirror of the owner, which publishes and removes what is staged here."""
        mirror = Mirror(self.root, min_free_percent=self.min_free_percent)
        mirror.visit(self, guest)
        return mirror


class Mirror(MirrorReading, MirrorTrash):
    """A folder that holds one file per object. Safe to use from several threads."""

    def __init__(
        self,
        root: Path,
        *,
        durable: bool = True,
        min_free_percent: float = 1.0,
        case_sensitive: bool | None = None,
        calls: DiskCalls | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Touch nothing. `case_sensitive=None`: `prepare` finds out."""
        self.root = root.absolute()
        self._durable = durable
        self._min_free_percent = min_free_percent
        self._case_sensitive = case_sensitive
        self._calls = calls or DiskCalls()
        self._clock = clock
        self._durability = Durability(self._calls, enabled=durable)
        self._identity: tuple[int, int] | None = None  # device and inode of the prepared root
        self._marker: Marker | None = None  # of the prepared root
        self.taken_over = False  # `prepare` found the mirror of another bucket
        self._staging: StagingFolder | None = None
        self._host: tuple[MirrorElsewhere, bytes] | None = None  # for whom we stage, and as whom
        self._staging_path = os.fsencode(self.root / STAGING)
        self._lock = threading.Lock()
        self.notes = Notes(self.staging, self._prepared)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the hold on the staging folder. The mirror can be used again all the same."""
        with self._lock:
            staging, self._staging = self._staging, None
        if staging is not None:
            staging.close()

    # The root

    def prepare(self, *, bucket_identity: str, adopt: bool = False) -> None:
        """Make the folder the mirror of this bucket, if it is not yet. Other files in it stay.

        Raises: ConfigurationError (it is the mirror of another one), MirrorError.
        """
        self.close()
        self._identity = self._marker = None
        made = make_root(self.root)
        with self._session("the mirror's folder") as directories:
            for folder in (STAGING, TRASH):
                directories.open(folder, create=True)
            status = os.fstat(directories.root)
            marker = self._claim(directories, bucket_identity, adopt)
            if self._case_sensitive is None:
                self._case_sensitive = self._probe_case(directories)
            self._durability.require_folders(directories)
            self._durability.of_new_folders(made)
        self._marker = marker
        self._identity = (status.st_dev, status.st_ino)

    @property
    def id(self) -> str:
        """What tells this folder from every other one, wherever it is mounted or moved to."""
        if self._marker is None:
            raise MirrorUnavailable("the mirror's folder was not prepared")
        return self._marker.mirror_id

    def marked_id(self) -> str | None:
        """The id of the folder, if it is there and somebody made it a mirror. Changes nothing.

        Raises: ConfigurationError (its marker cannot be read), MirrorError.
        """
        if not os.path.isdir(self.root):  # pathlib's raises where it may not look
            return None
        with self._session(MARKER) as directories:
            marker = read_marker(directories)
        return marker.mirror_id if marker is not None else None

    def check(self) -> DiskFull | None:
        """Prove that the prepared root is there and can be written. Changes nothing.

        What keeps it from taking more, if it is full: files can still be removed then.
        Raises: MirrorUnavailable, MirrorError.
        """
        with self._prepared(INTERNAL) as directories:
            prove_marker(directories, self._marker)
        try:
            with self.stage() as staged:
                staged.write(b"\0")
        except DiskFull as full:
            return full
        return None

    def elsewhere(self) -> MirrorElsewhere:
        """What another process needs to stage for us. Raises: MirrorUnavailable, MirrorError."""
        staging = self.staging()
        assert self._identity is not None
        return MirrorElsewhere(
            self.root, self._identity, staging.identity, staging.token, self._min_free_percent
        )

    def visit(self, host: MirrorElsewhere, guest: bytes) -> None:
        """Stage for another process from now on, under a name that no other guest has."""
        self._identity = host.identity
        self._host = (host, guest)

    def staging(self) -> Staging:
        """This process's hold on the staging folder. Raises: MirrorUnavailable, MirrorError."""
        staging = self._current_staging()
        assert isinstance(staging, Staging)  # only a guest's is none
        return staging

    def require_room(self, size: int) -> None:
        """Raises: DiskFull when `size` more bytes would not fit now; MirrorError."""
        with translating(STAGING):
            self._current_staging().room.require(size)

    @contextmanager
    def internal(self) -> Iterator[int]:
        """A descriptor of the mirror's own folder, for the lease; it ends with the block.

        Raises: MirrorUnavailable, MirrorError (also for an OSError inside the block).
        """
        with self._prepared(INTERNAL) as directories:
            yield directories.open(INTERNAL)

    # Writing

    def stage(self, size: int | None = None) -> StagedFile:
        """A new file to write to; `size` in bytes, if it is known, must fit on the disk.

        Raises: DiskFull, MirrorUnavailable, MirrorError.
        """
        return self._current_staging().stage(size)

    def stage_whole(self, data: bytes, mtime: int) -> StagedFile:
        """A new file with these bytes and this time, in seconds.

        Raises: DiskFull, MirrorUnavailable, MirrorError.
        """
        return self._current_staging().stage_whole(data, mtime)

    def write_out(self, staged: StagedFile, offset: int, nbytes: int) -> None:
        """Let the disk begin with a part of a large file that will have to be durable.

        Else all of it may be left to the end, where others wait for it. Raises: MirrorError.
        """
        if self._durable:
            staged.write_out(offset, nbytes)

    def publish(self, batch: Sequence[Publication]) -> list[Published | MirrorError]:
        """Give staged files their names, durably; one entry per item, in order.

        A file that failed is still staged. A PathConflict whose `at` is a file of ours can be
        solved by `relocate`; then publish again.
        """
        if not batch:
            return []
        try:
            with self._prepared("the mirror's folder") as directories:
                publisher = Publisher(
                    directories,
                    self.staging(),
                    self._durability,
                    TrashFolder(directories, "replaced", self._clock()),
                    None if self._case_sensitive else LetterCase(directories),
                )
                return publisher.publish(batch)
        except MirrorError as error:
            return [error] * len(batch)

    def remove(self, batch: Sequence[FileStat], *, label: str) -> list[bool | MirrorError]:
        """Move our files to the trash, durably; False for those that were gone already.

        Folders that became empty are removed. One entry per item, in order.
        """
        if not batch:
            return []
        try:
            with self._prepared("the mirror's folder") as directories:
                trash_folder = TrashFolder(directories, label, self._clock())
                return removing.remove(
                    batch, directories, self._calls, self._durability, trash_folder
                )
        except MirrorError as error:
            return [error] * len(batch)

    def relocate(self, key: str) -> FileStat:
        """Move a key's file from `path_for` to `conflict_path_for`, for a folder to take its place.

        Durable; calling it again changes nothing. Raises: FileMissing, PathConflict, MirrorError.
        """
        with self._prepared(path_for(key)) as directories:
            return removing.relocate(key, directories, self._calls, self._durability)

    def touch(self, path: str, mtime: int) -> FileStat:
        """Set a file's time, in seconds. Raises: FileMissing, PathConflict, MirrorError."""
        with self._prepared(path) as directories:
            return removing.touch(path, mtime, directories)

    def sync(self) -> None:
        """Make everything on the mirror's file system durable, also what others wrote.

        For files that are recorded without having been published: adopted ones.
        Raises: MirrorError.
        """
        if self._durable:
            with self._prepared("the file system") as directories:
                if not self._calls.sync_file_system(directories.root):
                    os.sync()

    def sweep(self) -> int:
        """Remove staged files that no live process owns; their number. Raises: MirrorError."""
        with self._prepared(STAGING) as directories:
            with suppress(FileNotFoundError):
                return sweep(directories.open(STAGING))
        return 0

    # How

    def _current_staging(self) -> StagingFolder:
        """The staging folder that is at its path now, held by this very process."""
        staging = self._staging
        if staging is not None and staging.process == os.getpid():
            try:
                status = os.stat(self._staging_path, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                return self._new_staging(staging)
            except OSError as error:
                raise translated(error, STAGING) from error
            if (status.st_dev, status.st_ino) == staging.identity:
                return staging
        return self._new_staging(staging)

    def _new_staging(self, outdated: StagingFolder | None) -> StagingFolder:
        with self._lock:
            if self._staging is outdated or self._staging is None:
                with self._prepared(STAGING) as directories:
                    if self._host is None:
                        self._staging = self._own_staging(directories, self._min_free_percent)
                    else:
                        self._staging = self._guest_staging(directories, *self._host)
            return self._staging

    def _own_staging(self, directories: Directories, min_free_percent: float = 0.0) -> Staging:
        folder = os.dup(directories.open(STAGING, create=True))
        return Staging(folder, self._calls, min_free_percent)

    def _guest_staging(
        self, directories: Directories, host: MirrorElsewhere, guest: bytes
    ) -> StagingFolder:
        folder = os.dup(directories.open(STAGING))
        name = b"%s-%s" % (host.token, guest)
        staging = StagingFolder(folder, self._calls, host.min_free_percent, lambda: name)
        if staging.identity != host.staging:
            staging.close()
            raise MirrorUnavailable("the staging folder is not the one of its owner")
        return staging

    def _claim(self, directories: Directories, identity: str, adopt: bool) -> Marker:
        try:
            marker = read_marker(directories)
        except ConfigurationError:
            if not adopt:
                raise
            self.taken_over = True
            return self._write_marker(directories, self._fresh(identity), over=True)
        if marker is None:
            with suppress(FileExistsError):  # another process of the service was faster
                return self._write_marker(directories, self._fresh(identity), over=False)
            return self._claim(directories, identity, adopt)
        self.taken_over = marker.bucket != identity
        if not self.taken_over:
            return marker
        if not adopt:
            raise of_another_bucket(marker.bucket, identity)
        return self._write_marker(directories, replace(marker, bucket=identity), over=True)

    def _fresh(self, identity: str) -> Marker:
        return Marker(identity, secrets.token_hex(16), self._clock())

    def _write_marker(self, directories: Directories, marker: Marker, *, over: bool) -> Marker:
        with closing(self._own_staging(directories)) as staging:
            write_marker(directories, staging, marker, durable=self._durable, over=over)
        return marker

    def _probe_case(self, directories: Directories) -> bool:
        """Whether upper and lower case make two names here."""
        with closing(self._own_staging(directories)) as staging, staging.stage() as staged:
            return look(staged.name.upper(), staging.folder) is None
