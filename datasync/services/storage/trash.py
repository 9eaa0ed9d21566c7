"""The trash: `.datasync/trash/<UTC stamp>-<label>/<mirror path>`, readable without any tool.

The disk is the only truth: no database knows what is in it. Everything gets here by a rename
and goes back by one; nothing is copied, nothing is followed, nothing at a path is overwritten.
What leaves it for good is `emptying`'s.
"""

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from datasync.errors import FileMissing, MirrorError, PathConflict
from datasync.models.sync_models import FileStat
from datasync.services.storage.directories import Directories, look, translated, walk
from datasync.services.storage.placing import Spot, displace
from datasync.services.storage.paths import INTERNAL, check_path, is_path, join, split
from datasync.utils.file_utils import DiskCalls

TRASH = f"{INTERNAL}/trash"
_STAMP = "%Y%m%dT%H%M%SZ"
_FOLDER = re.compile(r"(\d{8}T\d{6}Z)(?:\.(\d{1,6}))?-(.*)", re.DOTALL)
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9_.]+")
_MAX_FOLDERS_PER_SECOND = 100_000
_TRIES = 10
_LIST_HINT = "List what is there: datasync trash list."


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One thing in the trash. `id` is `<folder>/<path>`, `path` where it was in the mirror."""

    id: str
    path: str
    size: int  # bytes
    trashed_at: float  # seconds since the epoch
    label: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of one entry: back at its path, or an error that says why not."""

    entry: TrashEntry
    file: FileStat | None
    error: MirrorError | None = None


class TrashFolder:
    """Where one batch puts what it takes away. Makes nothing until something comes."""

    def __init__(self, directories: Directories, label: str, now: float) -> None:
        self._directories = directories
        self._label = _NOT_IN_LABELS.sub("-", label)[:80]
        self._stamp = time.strftime(_STAMP, time.gmtime(now))
        self._number = 0

    def slot(self, path: str) -> tuple[str, int, bytes]:
        """A free place for what is at a mirror path: trash path, folder handle and name.

        Raises: OSError, PathConflict.
        """
        number = self._number
        while True:
            place = join(self._folder(number), path)
            folder, name = split(place)
            try:
                handle = self._directories.open(folder, create=True)
                if look(name, handle) is None:
                    self._number = number
                    self._directories.touched.add(folder)
                    return place, handle, name
            except PathConflict as conflict:
                # A file of the same second is where this one needs a folder: take the next one.
                # Were the trash itself not a folder, the next one would be no better.
                if conflict.at in (INTERNAL, TRASH) or number >= _MAX_FOLDERS_PER_SECOND:
                    raise
            number += 1

    def _folder(self, number: int) -> str:
        suffix = f".{number}" if number else ""
        return f"{TRASH}/{self._stamp}{suffix}-{self._label}"


def entries(directories: Directories, prefix: str, after: str) -> Iterator[TrashEntry]:
    """What is in the trash at mirror paths below `prefix`, behind the id `after`, in order."""
    bound = tuple(after.encode(errors="surrogateescape").split(b"/")) if after else None
    for folder in folders(directories):
        name = folder.encode()
        if bound is not None and name < bound[0]:
            continue
        rest = bound[1:] if bound is not None and name == bound[0] else None
        yield from _entries_in(directories, folder, prefix, rest or None)


def find(directories: Directories, entry_id: str) -> TrashEntry:
    """Raises: FileMissing (also for what can be no id), MirrorError, OSError."""
    folder, _, path = entry_id.partition("/")
    moment = moment_of(folder)
    if moment is None or not path or not (is_path(entry_id) and is_path(path)):
        raise FileMissing(f"{entry_id!r} is not in the trash", hint=_LIST_HINT)
    above, name = split(f"{TRASH}/{entry_id}")
    try:
        found = look(name, directories.open(above))
    except FileNotFoundError:
        found = None
    if found is None or stat.S_ISDIR(found.st_mode):
        raise FileMissing(f"{entry_id!r} is not in the trash", hint=_LIST_HINT)
    return _entry(folder, path, found.st_size, moment)


def newest(found: Iterable[TrashEntry]) -> list[TrashEntry]:
    """For each path the entry trashed last; entries come oldest first."""
    latest: dict[str, TrashEntry] = {}
    for entry in found:
        known = latest.get(entry.path)
        if known is None or _order(entry) > _order(known):
            latest[entry.path] = entry
    return list(latest.values())


def put_back(
    directories: Directories, calls: DiskCalls, entry: TrashEntry, replaced: TrashFolder | None
) -> Restored:
    """Rename an entry to its path. What is there goes to `replaced`, or is kept without one."""
    for _ in range(_TRIES):
        try:
            return Restored(entry, _put_back(directories, calls, entry, replaced))
        except MirrorError as error:
            return Restored(entry, None, error)
        except FileNotFoundError:  # the entry, or the folder for it: a run removes empty ones
            directories.forget_all()
            if directories.kind(f"{TRASH}/{entry.id}") is None:
                break
        except OSError as error:
            return Restored(entry, None, translated(error, entry.path))
    return Restored(entry, None, FileMissing(f"{entry.id!r} is not in the trash"))


def folders(directories: Directories) -> Iterator[str]:
    """The trash's own folders, in byte order. Others there were not made by us: left alone."""
    try:
        names = directories.names(TRASH)
    except FileNotFoundError:
        return
    for name in names:
        with suppress(UnicodeDecodeError):
            folder = name.decode()
            if (
                moment_of(folder) is not None
                and directories.kind(f"{TRASH}/{folder}") == "directory"
            ):
                yield folder


def moment_of(folder: str) -> tuple[float, int, str] | None:
    """Time, number within its second and label of a trash folder; None when it is not one."""
    match = _FOLDER.fullmatch(folder)
    if match is None:
        return None
    try:
        when = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return when.timestamp(), int(match[2] or 0), match[3]


def _entries_in(
    directories: Directories, folder: str, prefix: str, after: tuple[bytes, ...] | None
) -> Iterator[TrashEntry]:
    moment = moment_of(folder)
    assert moment is not None
    for path, status in walk(directories, f"{TRASH}/{folder}", after):
        if path.startswith(prefix):
            yield _entry(folder, path, status.st_size, moment)


def _entry(folder: str, path: str, size: int, moment: tuple[float, int, str]) -> TrashEntry:
    return TrashEntry(f"{folder}/{path}", path, size, moment[0], moment[2])


def _order(entry: TrashEntry) -> tuple[float, int]:
    moment = moment_of(entry.id.partition("/")[0])
    assert moment is not None
    return moment[0], moment[1]


def _put_back(
    directories: Directories, calls: DiskCalls, entry: TrashEntry, replaced: TrashFolder | None
) -> FileStat:
    check_path(entry.path)
    folder, name = split(entry.path)
    trash_folder, trash_name = split(f"{TRASH}/{entry.id}")
    directories.open(trash_folder)  # before a folder is made for what is not there
    target = Spot(name, directories.open(folder, create=True))
    source = Spot(trash_name, directories.open(trash_folder))
    directories.touched.update((folder, trash_folder))
    try:
        calls.rename_new(*source, *target)
    except FileExistsError:
        kind = directories.kind(entry.path)
        if replaced is None or kind == "directory":
            raise _occupied(entry.path, kind) from None
        place, handle, slot_name = replaced.slot(entry.path)
        target = Spot(name, directories.open(folder))
        source = Spot(trash_name, directories.open(trash_folder))
        displace(calls, source, target, Spot(slot_name, handle))
    found = os.stat(name, dir_fd=target.folder, follow_symlinks=False)
    directories.prune(trash_folder, stop=TRASH)
    return FileStat(entry.path, found.st_size, found.st_mtime_ns)


def _occupied(path: str, kind: str | None) -> PathConflict:
    return PathConflict(
        f"{path!r} is a {kind or 'file'}; it is kept",
        at=path,
        hint="Move it away, or restore with --overwrite: it then goes to the trash itself.",
    )
