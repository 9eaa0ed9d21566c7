"""What leaves the trash for good: what is too old, and the oldest where there is no room.

Whole folders of one moment, the oldest first, following nothing. Knows the disk only.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from datasync.services.storage.directories import Directories, look, translated
from datasync.services.storage.looking import disk_usage
from datasync.services.storage.paths import join, split
from datasync.services.storage.trash import TRASH, folders, moment_of
from datasync.utils.file_utils import on_one_mount

HEADROOM_PERCENT = 1.0  # of the disk, beyond what must stay free: room for the next downloads


@dataclass(slots=True)
class Emptied:
    """How many files were removed, and the bytes of the disk that this gave back."""

    files: int = 0
    bytes: int = 0


def prune(directories: Directories, before: float, stopped: Callable[[], bool]) -> Emptied:
    """Remove what was trashed before that time, until `stopped()`.

    One folder that cannot be removed does not keep the others. Raises: MirrorError, for the
    last of such folders and once all have been tried; OSError.
    """
    return _empty(directories, before, stopped, inf)


def shrink(
    directories: Directories, before: float, stopped: Callable[[], bool], nbytes: int
) -> Emptied:
    """As `prune`, but no more than what gives so many bytes back."""
    return _empty(directories, before, stopped, nbytes)


def excess(directories: Directories, max_percent: float | None, min_free_percent: float) -> int:
    """The bytes that the trash should give back; 0 when it may stay as it is.

    `max_percent` is the share of the disk that it may take, None: it is not weighed.
    """
    usage = disk_usage(directories.root)
    total = usage.total_bytes
    wanted = min(100.0, min_free_percent + HEADROOM_PERCENT)
    missing = max(0, round(total * wanted / 100.0 - usage.free_bytes))
    if max_percent is None or max_percent >= 100 or not total:
        return missing
    return max(missing, round(weight(directories) - total * max_percent / 100.0))


def weight(directories: Directories) -> int:
    """The bytes of the disk that the trash takes."""
    total = 0
    waiting = [f"{TRASH}/{folder}" for folder in folders(directories)]
    while waiting:
        with suppress(FileNotFoundError):  # restored meanwhile
            below, files = _sorted_out(directories, waiting.pop())
            waiting.extend(below)
            total += sum(nbytes for _, nbytes in files)
    return total


def _empty(
    directories: Directories, before: float, stopped: Callable[[], bool], nbytes: float
) -> Emptied:
    done, failure = Emptied(), None

    def enough() -> bool:
        return done.bytes >= nbytes or stopped()

    for folder in _older_than(directories, before):
        if enough():
            break
        try:
            for given_back in _removed(directories, f"{TRASH}/{folder}", enough):
                done.files += 1
                done.bytes += given_back
        except OSError as error:
            failure = translated(error, f"{TRASH}/{folder}")
    if failure is not None:
        raise failure
    return done


def _older_than(directories: Directories, before: float) -> list[str]:
    """The trash's folders of a time before that, the oldest first."""
    dated = [(moment, folder) for folder in folders(directories) if (moment := moment_of(folder))]
    return [folder for moment, folder in sorted(dated) if moment[0] < before]


def _removed(directories: Directories, folder: str, enough: Callable[[], bool]) -> Iterator[int]:
    """Remove a folder with all that is in it, deepest first, telling the bytes of each file."""
    stack = [folder]
    while stack:
        current = stack[-1]
        if not on_one_mount(directories.open(current), directories.root):
            raise OSError(errno.EXDEV, "")  # what is mounted in the trash is none of ours
        below, files = _sorted_out(directories, current)
        if below:
            stack.extend(below)
            continue
        handle = directories.open(current)
        for name, nbytes in files:
            if enough():
                return
            os.unlink(name, dir_fd=handle)
            yield nbytes
        above, folder_name = split(current)
        os.rmdir(folder_name, dir_fd=directories.open(above))
        directories.forget(current)
        directories.touched.discard(current)
        stack.pop()


def _sorted_out(directories: Directories, folder: str) -> tuple[list[str], list[tuple[bytes, int]]]:
    """The folders in a folder by path, and everything else by name with its bytes on the disk."""
    below: list[str] = []
    files: list[tuple[bytes, int]] = []
    names = directories.names(folder)
    handle = directories.open(folder)
    for name in names:
        found = look(name, handle)
        if found is not None and stat.S_ISDIR(found.st_mode):
            below.append(join(folder, name.decode(errors="surrogateescape")))
        elif found is not None:
            files.append((name, _bytes_of(found)))
    return below, files


def _bytes_of(found: os.stat_result) -> int:
    """What removing a file gives back: nothing, while it has another name."""
    return found.st_blocks * 512 if found.st_nlink == 1 else 0
