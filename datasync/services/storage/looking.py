"""Looks at mirrored files without changing or following anything. Knows paths, no keys."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasync.errors import FileMissing, MirrorError, PathConflict
from datasync.models.figures import DiskUsage
from datasync.models.sync_models import FileStat
from datasync.services.storage.directories import NO_DESCRIPTOR, Directories, kind_of, look
from datasync.services.storage.paths import check_path, split

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV)
_NEVER = (b"", b".", b"..")


def disk_usage(folder: int) -> DiskUsage:
    """Of the file system that a folder's handle is of. Raises: OSError."""
    space = os.statvfs(folder)
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    return DiskUsage(total, free)


@dataclass(frozen=True, slots=True)
class NotAFile:
    """Something else is where a file could be: directory, link, fifo, socket or device.

    `at` is where it is: the path or a folder above it. Kind `unreadable`: the system does not
    let us look.
    """

    path: str
    kind: str
    at: str


def stat_files(directories: Directories, paths: Sequence[str]) -> list[FileStat | None | NotAFile]:
    """lstat of each path; None where nothing is. Paths of one folder should come together."""
    found: list[FileStat | None | NotAFile] = []
    last_folder: str | None = None
    handle: int | NotAFile | None = None
    for path in paths:
        folder = path.rpartition("/")[0]
        if folder != last_folder:
            handle, last_folder = _folder(directories, folder), folder
        if isinstance(handle, int):
            found.append(_stat_file(path, handle))
        elif handle is None:
            found.append(None)
        else:
            found.append(NotAFile(path, handle.kind, handle.at))
    return found


def are_unchanged(directories: Directories, files: Iterable[tuple[bytes, int, int]]) -> list[bool]:
    """Whether there is, at each path, a file of exactly this size and mtime_ns (lstat).

    For the many files that are: nothing is told of others. Those of one folder should come
    together.
    """
    unchanged: list[bool] = []
    last_folder: bytes | None = None
    handle: int | NotAFile | None = None
    for path, size, mtime_ns in files:
        folder, _, name = path.rpartition(b"/")
        if folder != last_folder:
            handle, last_folder = _folder(directories, folder.decode()), folder
        if not isinstance(handle, int):
            unchanged.append(False)
            continue
        try:
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
        except (OSError, ValueError):
            unchanged.append(False)
            continue
        same = found.st_mtime_ns == mtime_ns and found.st_size == size
        unchanged.append(same and stat.S_ISREG(found.st_mode))
    return unchanged


def open_file(directories: Directories, path: str) -> int:
    """A descriptor of a regular file, for reading. Raises: FileMissing, OSError."""
    try:
        check_path(path)
        folder, name = split(path)
        handle = directories.open(folder)
        found = look(name, handle)
        if found is not None and stat.S_ISREG(found.st_mode):
            return _open_regular(name, handle, path)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
    except MirrorError:
        pass  # no path of the mirror, or a link or file among its folders: no file of ours
    raise FileMissing(f"{path!r} is not there")


def _open_regular(name: bytes, folder: int, path: str) -> int:
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)  # swapped since we looked
    raise FileMissing(f"{path!r} is not a file")


def _folder(directories: Directories, folder: str) -> int | NotAFile | None:
    """The folder's handle, None when it is not there, or what is in its way."""
    try:
        if folder:
            check_path(folder)
        return directories.open(folder)
    except FileNotFoundError:
        return None
    except PathConflict as conflict:
        return _in_the_way(directories, folder, conflict.at or folder)
    except MirrorError:
        return None  # no path of the mirror: nothing of ours is there
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:  # says nothing of the folder, and is the same for all
            raise
        return NotAFile(folder, "unreadable", folder)


def _in_the_way(directories: Directories, folder: str, at: str) -> NotAFile | None:
    try:
        kind = directories.kind(at)
    except (OSError, PathConflict):
        kind = "unreadable"
    return None if kind in (None, "file", "directory") else NotAFile(folder, kind, at)


def _stat_file(path: str, folder: int) -> FileStat | None | NotAFile:
    try:
        name = path.rpartition("/")[2].encode()
        if name in _NEVER:
            return None
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, ValueError):  # ValueError: NUL or a surrogate, no name of ours
        return None
    except OSError as error:
        return None if error.errno == errno.ENAMETOOLONG else NotAFile(path, "unreadable", path)
    if stat.S_ISREG(found.st_mode):
        return FileStat(path, found.st_size, found.st_mtime_ns)
    return NotAFile(path, kind_of(found.st_mode), path)
