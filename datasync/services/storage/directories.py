"""Folders below one root, reached one component at a time and never through a link.

A `Directories` lives as long as one batch of work: a folder that is moved away later is not
written to. It holds few handles; the three opened last stay valid. Knows paths, no keys.
"""

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from datasync.errors import (
    DiskFull,
    MirrorError,
    MirrorUnavailable,
    PathConflict,
    TooManyOpenFiles,
)
from datasync.services.storage.paths import INTERNAL, is_ours, join, split
from datasync.utils.file_utils import on_one_mount

MAX_HANDLES = 64
_KEPT_PER_OPEN = 16  # so that one deep folder cannot push out the handles still in use
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "link"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
)
NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_ONE_DISK = (
    "A file is moved to its place whole, which needs one file system: unmount what is mounted "
    "below the mirror, or mirror that part into it with a service of its own (S3_PREFIX)."
)
_HINTS = {
    errno.EIO: "The disk reports errors: see the kernel's log (dmesg).",
    errno.EFBIG: "This file system, or a limit of the process, holds no file of this size.",
    errno.EACCES: "Give the service's user the right to write there.",
    errno.EPERM: "Something forbids the change: an immutable file (lsattr), or its owner.",
}


def translated(error: OSError, path: str) -> MirrorError:
    """The disk's refusal as an error of ours, with the path (never the key) inside the mirror."""
    message = f"{path!r}: {reason_of(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(message)
    if error.errno in NO_DESCRIPTOR:
        return TooManyOpenFiles(message)
    if error.errno == errno.EXDEV:
        return PathConflict(f"{message}: another file system is mounted there", hint=_ONE_DISK)
    ours = is_ours(path) and error.errno in (errno.EACCES, errno.EPERM, errno.ENOENT)
    if ours or error.errno in (errno.EROFS, errno.ENODEV, errno.ESTALE):
        return MirrorUnavailable(message)
    return MirrorError(message, hint=_HINTS.get(error.errno or 0))


def make_root(path: Path) -> list[Path]:
    """Make the root and the folders above it; the ones that were missing. Raises: MirrorError."""
    try:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise root_error(error, "made") from error
    return missing


def open_root(path: Path) -> tuple[int, os.stat_result]:
    """A handle of the root, and what it is: the operator may have made it a link.

    Raises: MirrorUnavailable, TooManyOpenFiles.
    """
    handle = -1
    try:
        handle = os.open(os.fsencode(path), _ROOT)
        return handle, os.fstat(handle)
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise root_error(error, "opened") from error


def root_error(error: OSError, what: str) -> MirrorError:
    """What keeps the root itself from being made or opened."""
    if error.errno in NO_DESCRIPTOR:
        return translated(error, "the mirror's folder")
    return MirrorUnavailable(f"the mirror's folder cannot be {what}: {reason_of(error)}")


def reason_of(error: OSError) -> str:
    """What the system says of it, without any path."""
    return os.strerror(error.errno) if error.errno else type(error).__name__


@contextmanager
def translating(path: str) -> Iterator[None]:
    """Turn OSError into a MirrorError that names `path`."""
    try:
        yield
    except OSError as error:
        raise translated(error, path) from error


def kind_of(mode: int) -> str:
    """What a file's mode says it is: file, directory, link, fifo, socket or device."""
    return next((kind for test, kind in _KINDS if test(mode)), "device")


def look(name: bytes, folder: int) -> os.stat_result | None:
    """lstat, or None when nothing is there. Raises: OSError."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Directories:
    """Folder handles below a root whose handle this object takes over and closes."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.touched: set[str] = set()  # folders whose entries changed, to be made durable
        self._handles: OrderedDict[str, int] = OrderedDict()
        self._own: tuple[int, int] | None = None  # device and inode of our own folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give every handle back, the root's too."""
        self.forget_all()
        os.close(self.root)

    def open(self, path: str, *, create: bool = False) -> int:
        """The handle of a folder; "" is the root. It stays ours, for the next three calls at most.

        Raises: FileNotFoundError, PathConflict (a link or file is where a folder must be),
        OSError.
        """
        if not path:
            return self.root
        handle = self._handles.get(path)
        if handle is not None:
            self._handles.move_to_end(path)
            return handle
        return self._descend(path, create)

    def forget(self, path: str) -> None:
        """Drop a folder and what is below it, because another one may be there by now."""
        below = path + "/"
        for known in [known for known in self._handles if known == path or known.startswith(below)]:
            os.close(self._handles.pop(known))

    def forget_all(self) -> None:
        """Drop every handle but the root's."""
        while self._handles:
            os.close(self._handles.popitem()[1])

    def kind(self, path: str) -> str | None:
        """What is at a path, None when nothing is. Raises: PathConflict, OSError."""
        folder, name = split(path)
        try:
            found = look(name, self.open(folder))
        except FileNotFoundError:
            return None
        return None if found is None else kind_of(found.st_mode)

    def names(self, path: str) -> list[bytes]:
        """The names in a folder, in byte order. Raises: FileNotFoundError, PathConflict, OSError.

        Reading goes through a handle of its own: the kept one must not carry a read position.
        """
        handle = os.open(b".", _FOLDER, dir_fd=self.open(path))
        try:
            return sorted(map(os.fsencode, os.listdir(handle)))
        finally:
            os.close(handle)

    def prune(self, folder: str, *, stop: str = "") -> None:
        """Remove a folder and those above it, up to `stop`, as far as they are empty."""
        while folder not in ("", stop):
            above, name = split(folder)
            try:
                os.rmdir(name, dir_fd=self.open(above))
            except FileNotFoundError:
                pass  # someone was faster; the one above may be empty now
            except (OSError, PathConflict):
                return  # not empty, or not to be touched: an empty folder is no harm
            else:
                self.touched.discard(folder)
                self.touched.add(above)
            self.forget(folder)
            folder = above

    def _descend(self, path: str, create: bool) -> int:
        known = self._nearest(path)
        handle = self._handles.get(known, self.root)
        segments = path[len(known) + bool(known) :].split("/")
        loose, end = -1, len(known)
        try:
            for index, segment in enumerate(segments):
                end += len(segment) + (end > 0)
                handle = self._step(handle, segment, path[:end], create)
                if loose >= 0:
                    os.close(loose)
                loose = handle
                if index >= len(segments) - _KEPT_PER_OPEN:
                    self._keep(path[:end], handle)
                    loose = -1
        finally:
            if loose >= 0:
                os.close(loose)
        return handle

    def _nearest(self, path: str) -> str:
        """The deepest folder above `path` whose handle is open; "" is the root."""
        nearest = ""
        for known in self._handles:
            if len(known) > len(nearest) and path.startswith(known + "/"):
                nearest = known
        if nearest:
            self._handles.move_to_end(nearest)
        return nearest

    def _step(self, parent: int, segment: str, here: str, create: bool) -> int:
        if segment in ("", ".", ".."):
            raise MirrorError(f"{here!r} is not a path of the mirror")
        name = segment.encode(errors="surrogateescape")
        try:
            return self._entered(name, parent, here)
        except FileNotFoundError:
            if not create:
                raise
        if not on_one_mount(parent, self.root):
            raise translated(OSError(errno.EXDEV, ""), here)
        with suppress(FileExistsError):  # someone was faster
            os.mkdir(name, 0o777, dir_fd=parent)
            self.touched.add(here.rpartition("/")[0])
        return self._entered(name, parent, here)

    def _entered(self, name: bytes, parent: int, here: str) -> int:
        try:
            handle = os.open(name, _FOLDER, dir_fd=parent)
        except OSError as error:
            raise self._refusal(error, name, parent, here) from error
        try:
            if "/" in here or here == INTERNAL or not self._is_own_folder(handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        raise PathConflict(
            f"{here!r} is another name of the mirror's own folder on this file system",
            at=here,
            hint="This file system overlooks some characters; rename the object in S3.",
        )

    def _is_own_folder(self, handle: int) -> bool:
        """Whether a folder in the root is our own one.

        Its name alone does not tell: with case folding, ext4 overlooks invisible characters too.
        """
        if self._own is None:
            found = look(INTERNAL.encode(), self.root)
            self._own = None if found is None else (found.st_dev, found.st_ino)
        status = os.fstat(handle)
        return (status.st_dev, status.st_ino) == self._own

    def _refusal(self, error: OSError, name: bytes, parent: int, here: str) -> Exception:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            return error
        found = look(name, parent)
        kind = "something else" if found is None else f"a {kind_of(found.st_mode)}"
        return PathConflict(f"{here!r} is {kind} where a folder is needed", at=here)

    def _keep(self, path: str, handle: int) -> None:
        self._handles[path] = handle
        while len(self._handles) > MAX_HANDLES:
            os.close(self._handles.popitem(last=False)[1])


def walk(
    directories: Directories, folder: str, after: tuple[bytes, ...] | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """What is below `folder` and no folder itself: path relative to it, and its lstat.

    In order of segments, behind the segments of `after`. Names that are not UTF-8 are left out:
    no key has them. What vanishes meanwhile is skipped. Raises: OSError.
    """
    stack: list[tuple[str, tuple[bytes, ...] | None]] = [("", after)]
    while stack:
        path, bound = stack.pop()
        above, name = split(join(folder, path) if path else folder)
        with suppress(FileNotFoundError, PathConflict):
            found = look(name, directories.open(above))
            if found is not None and stat.S_ISDIR(found.st_mode):
                stack.extend(_children(directories, folder, path, bound or None))
            elif found is not None and bound is None:
                yield path, found


def _children(
    directories: Directories, folder: str, path: str, after: tuple[bytes, ...] | None
) -> list[tuple[str, tuple[bytes, ...] | None]]:
    """The entries of a folder, last first, each with what is left of `after`.

    An empty rest marks `after` itself; None says that everything counts.
    """
    children: list[tuple[str, tuple[bytes, ...] | None]] = []
    for name in reversed(directories.names(join(folder, path) if path else folder)):
        if after is not None and name < after[0]:
            break
        rest = after[1:] if after is not None and name == after[0] else None
        with suppress(UnicodeDecodeError):
            children.append((join(path, name.decode()), rest))
    return children
