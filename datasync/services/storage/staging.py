"""Staging: files on their way, under random names in a folder that no reader looks into.

Each process that stages owns a token: a file `<token>.owner` that it keeps locked (flock) while
it lives, with its notes (`notes.py`) in it. Staged files are called `<token>-<number>`, so that
whoever finds one can ask whether its owner is alive; a process id alone would prove nothing.
A process that helps another one stages in its name (`<token>-<guest>.<number>`) and leaves to it
what it has staged. Knows no keys and no final paths.
"""

import errno
import fcntl
import itertools
import os
import secrets
import stat
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from datasync.services.storage.directories import look, translated, translating
from datasync.services.storage.room import Room
from datasync.services.storage.staged_file import STAGING, StagedFile
from datasync.utils.file_utils import DiskCalls

OWNER = b".owner"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TOKEN_BYTES = 8
_PLANTED = 100  # names in a row that others may have taken


class StagingFolder:
    """A hold on the staging folder in an owner's name. Safe to use from several threads."""

    def __init__(
        self, folder: int, calls: DiskCalls, min_free_percent: float, name: Callable[[], bytes]
    ) -> None:
        """Take over the handle of the staging folder; `name` gives how its files' names begin.

        Raises: MirrorError.
        """
        self.folder = folder
        self.calls = calls
        self.process = os.getpid()
        self.generation = 0
        self.room = Room(folder, min_free_percent)
        self._numbers = itertools.count()
        self._left: deque[bytes] = deque()
        try:
            status = os.fstat(folder)
            self.identity = (status.st_dev, status.st_ino)
            self._name = name()
        except OSError as error:
            os.close(folder)
            raise translated(error, STAGING) from error

    def close(self) -> None:
        """Let go of the folder. Files still staged are left to the owner."""
        os.close(self.folder)

    def stage(self, size: int | None = None) -> StagedFile:
        """A new empty file; `size` in bytes, if known, must fit beside what is on its way.

        Raises: DiskFull, MirrorError.
        """
        if self._left:
            self.tidy()
        with translating(STAGING):
            self.room.reserve(size or 0)
            try:
                return self._created(size)
            except BaseException:
                self.room.release(size or 0)
                raise

    def stage_whole(self, data: bytes, mtime: int) -> StagedFile:
        """A new file with all of its bytes, and its time in seconds. Raises: DiskFull, MirrorError.

        The same as `stage` and `write`, with as few steps as there can be.
        """
        if self._left:
            self.tidy()
        size, generation = len(data), self.generation
        dated: int | None
        try:
            self.room.reserve(size)
            try:
                name, descriptor = self._create()
                try:
                    if size:
                        self.calls.write_at(descriptor, data, 0)
                    try:
                        os.utime(descriptor, (mtime, mtime))
                        dated = mtime
                    except (OSError, OverflowError):
                        dated = None  # whoever publishes it tries again, and tells why
                    status = os.fstat(descriptor)
                except BaseException:
                    self.remove(name)
                    raise
                finally:
                    os.close(descriptor)
            finally:
                self.room.release(size)
        except OSError as error:
            raise translated(error, STAGING) from error
        identity = (status.st_dev, status.st_ino)
        return StagedFile.whole(self, name, identity, size, generation, dated)

    def _created(self, size: int | None) -> StagedFile:
        name, descriptor = self._create()
        try:
            status = os.fstat(descriptor)
            identity = (status.st_dev, status.st_ino)
            return StagedFile(self, name, descriptor, identity, size)
        except BaseException:
            os.close(descriptor)
            os.unlink(name, dir_fd=self.folder)
            raise

    def _create(self) -> tuple[bytes, int]:
        """A name that nobody has, and its new file. Raises: OSError."""
        for _ in range(_PLANTED):
            name = b"%s%x" % (self._name, next(self._numbers))
            try:
                return name, os.open(name, _NEW, 0o666, dir_fd=self.folder)
            except FileExistsError:
                continue  # planted: left to whoever did it, and to a sweep
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def remove(self, name: bytes) -> None:
        """Remove a file of ours. What the disk does not let us remove now is tried again later."""
        try:
            os.unlink(name, dir_fd=self.folder)
        except FileNotFoundError:
            pass
        except OSError:
            self._left.append(name)

    def tidy(self) -> None:
        """Try again to remove what could not be removed; no sweep does, while we live."""
        for _ in range(len(self._left)):
            with suppress(IndexError):  # another thread was faster
                self.remove(self._left.popleft())


class Staging(StagingFolder):
    """An owner's hold on the staging folder."""

    def __init__(self, folder: int, calls: DiskCalls, min_free_percent: float) -> None:
        """Take over the handle of the staging folder and become an owner. Raises: MirrorError."""

        def name() -> bytes:
            self.token, self._owner = _become_owner(folder)
            return self.token + b"-"

        super().__init__(folder, calls, min_free_percent, name)
        self._release = weakref.finalize(
            self, _release_owner, folder, self._owner, self.token, self.process
        )

    def close(self) -> None:
        """Stop being an owner. Files still staged are left to the next sweep."""
        self._release()

    def take_over(
        self, name: bytes, identity: tuple[int, int], size: int, generation: int, mtime: int | None
    ) -> StagedFile:
        """A whole file that a guest has staged in our name, of device and inode `identity`.

        `generation` is that of the time before the guest began it.
        """
        return StagedFile.whole(self, name, identity, size, generation, mtime)

    def note(self, data: bytes) -> None:
        """Add to what is kept beside the lock. Raises: DiskFull, MirrorError."""
        with translating(STAGING):
            self.calls.write_at(self._owner, data, os.fstat(self._owner).st_size)

    def forget_notes(self) -> None:
        """Raises: MirrorError."""
        with translating(STAGING):
            if os.fstat(self._owner).st_size:
                os.ftruncate(self._owner, 0)

    def sync_all(self) -> bool:
        """Make everything written so far durable; False where the system has no such call.

        The owner's descriptor is older than every staged file, so it hears of every write error.
        After one, no file staged before can be trusted. Raises: OSError.
        """
        generation = self.generation
        try:
            return self.calls.sync_file_system(self._owner)
        except OSError:
            self.generation = generation + 1
            raise


def sweep(folder: int) -> int:
    """Remove staged files whose owner is dead; the number. Raises: OSError."""
    by_owner: dict[bytes, list[bytes]] = {}
    for entry in map(os.fsencode, os.listdir(folder)):
        token = entry.removesuffix(OWNER).partition(b"-")[0]
        by_owner.setdefault(token, []).append(entry)
    return sum(_sweep_owner(folder, token, names) for token, names in by_owner.items())


def _sweep_owner(folder: int, token: bytes, names: list[bytes]) -> int:
    owner = token + OWNER
    lock = lock_of_the_dead(folder, owner)
    if lock is None:
        return 0
    try:
        staged = [name for name in names if name != owner]
        removed = sum(_remove(folder, name) for name in staged)
        _remove(folder, owner)
        return removed
    finally:
        if lock >= 0:
            os.close(lock)


def lock_of_the_dead(folder: int, owner: bytes) -> int | None:
    """A lock that keeps others away, -1 when there is nothing to lock, None: the owner lives."""
    try:
        descriptor = os.open(owner, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return descriptor


def _remove(folder: int, name: bytes) -> bool:
    found = look(name, folder)
    if found is None or stat.S_ISDIR(found.st_mode):
        return False
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False  # another sweep was faster
    return True


def _become_owner(folder: int) -> tuple[bytes, int]:
    while True:
        token = b"s" + secrets.token_hex(_TOKEN_BYTES).encode()
        descriptor = os.open(token + OWNER, _NEW, 0o600, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return token, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a sweep came between the two steps and took it for a dead one's


def _release_owner(folder: int, owner: int, token: bytes, process: int) -> None:
    if os.getpid() == process:  # a forked child only lets go of its copies
        with suppress(OSError):
            if os.fstat(owner).st_size == 0:  # else whoever leads next reads the notes
                os.unlink(token + OWNER, dir_fd=folder)
    os.close(owner)
    os.close(folder)
