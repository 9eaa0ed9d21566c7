"""The few calls to the operating system that Python lacks, or that must be watched.

`DiskCalls` is handed to the mirror, so that tests can record their order or make one fail.
Everything is relative to folder handles; names are bytes. Where the system lacks a call
(macOS has no syncfs, no renameat2) the next best one is used. Knows no mirror and no key.
"""

import ctypes
import errno
import fcntl
import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_RENAME_NOREPLACE = 1  # linux/fs.h
_RENAME_EXCHANGE = 2
_SYNC_FILE_RANGE_WRITE = 2
_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_DESCRIPTORS = 16_384
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


@cache
def _libc_function(name: str) -> Any:
    """The C library's function of this name, or None where it has none."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


def _call(name: str, *arguments: object) -> None:
    function = _libc_function(name)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))  # OSError picks its subclass by number


def is_unsupported(error: OSError) -> bool:
    """Whether the system or this file system lacks the call, as opposed to refusing it."""
    return error.errno in _UNSUPPORTED


def allow_many_descriptors() -> None:
    """Raise the soft limit of open files as far as the hard one lets, and the service needs it.

    The soft one is 1,024 on most systems, for the sake of programs that call select().
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_freed_memory(nbytes: int) -> None:
    """Let the process keep so much freed memory at the end of its heap, where the C library can.

    Else that end goes back to the system and is taken again, page by page, for every few buffers
    of a large download: a fifth of its processor time.
    """
    if (mallopt := _libc_function("mallopt")) is not None:
        mallopt(_M_TRIM_THRESHOLD, nbytes)


def give_freed_memory_back() -> None:
    """Give the system back what the process has freed, where the C library can."""
    if (malloc_trim := _libc_function("malloc_trim")) is not None:
        malloc_trim(0)


def on_one_mount(one: int, other: int) -> bool:
    """Whether two descriptors are of the same mount; else no file can be moved between them.

    A folder that is mounted from elsewhere on the same disk is told by Linux only.
    Raises: OSError.
    """
    mounts = _mount_of(one), _mount_of(other)
    if None in mounts:
        return os.fstat(one).st_dev == os.fstat(other).st_dev
    return mounts[0] == mounts[1]


def _mount_of(descriptor: int) -> str | None:
    """The number of a mount (proc(5)), None when the system does not tell."""
    with suppress(OSError), open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as told:
        return next((line for line in told if line.startswith("mnt_id:")), None)
    return None


class DiskCalls:
    """Writing, renaming and making durable: the steps whose order keeps the mirror whole."""

    def write_at(self, descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`. Raises: OSError."""
        written = os.pwrite(descriptor, data, offset)
        if written == len(data):
            return
        rest = memoryview(data)[written:]
        while rest:
            offset += written
            written = os.pwrite(descriptor, rest, offset)
            rest = rest[written:]

    def sync(self, descriptor: int) -> None:
        """Make one file or folder durable. Raises: OSError."""
        full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
        if full is None:
            os.fsync(descriptor)
        else:
            fcntl.fcntl(descriptor, full)

    def write_out(self, descriptor: int, offset: int, nbytes: int) -> None:
        """Begin to write a part of a file to the disk, so that `sync` has less left to do.

        No promise, and nothing where there is no such call: what goes wrong, `sync` tells.
        """
        span = ctypes.c_int64(offset), ctypes.c_int64(nbytes)
        with suppress(OSError):
            _call("sync_file_range", descriptor, *span, _SYNC_FILE_RANGE_WRITE)

    def sync_file_system(self, descriptor: int) -> bool:
        """Make the whole file system durable; False where there is no such call.

        Write errors since `descriptor` was opened are reported (syncfs(2), Linux 5.8).
        Raises: OSError.
        """
        try:
            _call("syncfs", descriptor)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return False
            raise
        return True

    def replace(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        """Rename over whatever file is at `name`, in one step. Raises: OSError."""
        os.rename(source, name, src_dir_fd=source_folder, dst_dir_fd=folder)

    def rename_new(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        """Rename to a name that is free. Raises: FileExistsError, OSError."""
        try:
            _call("renameat2", source_folder, source, folder, name, _RENAME_NOREPLACE)
        except OSError as error:
            if not is_unsupported(error):
                raise
            _rename_if_free(source, source_folder, name, folder)

    def exchange(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        """Swap two names in one step. Raises: OSError, see `is_unsupported`."""
        _call("renameat2", source_folder, source, folder, name, _RENAME_EXCHANGE)

    def link(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        """Give a file a second, free name; a link is not followed. Raises: OSError."""
        os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)


def sync_folder_at(path: Path, calls: DiskCalls) -> None:
    """Make the entries of the folder at a path durable. Raises: OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one that we may write into and not read
        os.sync()
        return
    try:
        calls.sync(handle)
    finally:
        os.close(handle)


def _rename_if_free(source: bytes, source_folder: int, name: bytes, folder: int) -> None:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        os.rename(source, name, src_dir_fd=source_folder, dst_dir_fd=folder)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
