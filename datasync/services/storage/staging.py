"""Staging: files on their way, under random names in a folder that no reader looks into.

Each process that stages owns a token: a file `<token>.owner` that it keeps locked (flock) while
it lives, with its notes (`notes.py`) in it. Staged files are called `<token>-<number>`, so that
whoever finds one can ask whether its owner is alive; a process id alone would prove nothing.
Knows no keys and no final paths.
"""

import errno
import fcntl
import itertools
import os
import secrets
import stat
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import Self

from datasync.errors import MirrorError
from datasync.services.storage.directories import look, translated, translating
from datasync.services.storage.paths import INTERNAL
from datasync.services.storage.room import Room
from datasync.utils.file_utils import DiskCalls

STAGING = f"{INTERNAL}/staging"
OWNER = b".owner"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_TOKEN_BYTES = 8
_PLANTED = 100  # names in a row that others may have taken


class Staging:
    """This process's hold on the staging folder. Safe to use from several threads."""

    def __init__(self, folder: int, calls: DiskCalls, min_free_percent: float) -> None:
        """Take over the handle of the staging folder and become an owner. Raises: MirrorError."""
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
            self.token, self._owner = _become_owner(folder)
        except OSError as error:
            os.close(folder)
            raise translated(error, STAGING) from error
        self._release = weakref.finalize(
            self, _release_owner, folder, self._owner, self.token, self.process
        )

    def close(self) -> None:
        """Stop being an owner. Files still staged are left to the next sweep."""
        self._release()

    def stage(self, size: int | None = None) -> "StagedFile":
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

    def _created(self, size: int | None) -> "StagedFile":
        name, descriptor = self._create()
        try:
            return StagedFile(self, name, descriptor, size)
        except BaseException:
            os.close(descriptor)
            os.unlink(name, dir_fd=self.folder)
            raise

    def _create(self) -> tuple[bytes, int]:
        """A name that nobody has, and its new file. Raises: OSError."""
        for _ in range(_PLANTED):
            name = b"%s-%x" % (self.token, next(self._numbers))
            with suppress(FileExistsError):  # planted: left to whoever did it, and to a sweep
                return name, os.open(name, _NEW, 0o666, dir_fd=self.folder)
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


class StagedFile:
    """A file being written. Its owner publishes or discards it.

    Calls may come from several threads. The descriptor is open only while it is needed: it is
    closed when the announced size is written, and opened again on demand.
    """

    __slots__ = (
        "name",
        "size",
        "staging",
        "_descriptor",
        "_expected",
        "_generation",
        "_gone",
        "_identity",
        "_lock",
        "_reserved",
        "_sealed",
        "_users",
        "_written",
    )

    def __init__(self, staging: Staging, name: bytes, descriptor: int, size: int | None) -> None:
        self.staging = staging
        self.name = name
        self.size = 0  # bytes written: the highest end
        self._generation = staging.generation
        self._expected = size
        self._written = 0
        self._reserved = size or 0  # bytes that the disk must keep free for this file
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._users = 0
        self._lock = threading.Lock()
        self._gone = False
        self._sealed = False
        if size == 0:
            self.seal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def intact(self) -> bool:
        """Whether no write error was heard of since this file was begun."""
        return not self._gone and self._generation == self.staging.generation

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises: DiskFull, MirrorError."""
        self.write_at(self.size, data)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write at an offset in bytes. Raises: DiskFull, MirrorError."""
        descriptor = self._enter()
        try:
            self.staging.calls.write_at(descriptor, data, offset)
        except OSError as error:
            raise translated(error, STAGING) from error
        finally:
            self._leave()
        with self._lock:
            self.size = max(self.size, offset + len(data))
            self._written += len(data)
            self._let_go(len(data))
            complete = self._expected is not None and self._written >= self._expected
        if complete:
            self.seal()

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end. Raises: MirrorError."""
        descriptor = self._enter()
        try:
            return _read_at(descriptor, offset, length)
        except OSError as error:
            raise translated(error, STAGING) from error
        finally:
            self._leave()

    def seal(self) -> None:
        """Close the descriptor until it is needed again."""
        with self._lock:
            self._sealed = True
            self._close_if_idle()

    def sync(self) -> None:
        """Make the bytes and the times durable. Raises: OSError, MirrorError."""
        descriptor = self._enter()
        try:
            self.staging.calls.sync(descriptor)
        finally:
            self._leave()
            self.seal()

    def is_ours(self, status: os.stat_result) -> bool:
        """Whether what is at the file's name is the file that was written, and nothing else.

        Whoever can write into the staging folder could put another file there, or a second name
        of one that lies elsewhere.
        """
        return stat.S_ISREG(status.st_mode) and self._identity == (status.st_dev, status.st_ino)

    def discard(self) -> None:
        """Remove the file. Nothing happens when it is published or discarded already."""
        if self._end():
            self.staging.remove(self.name)

    def published(self) -> None:
        """The file has its final name: it is not ours to remove any more."""
        self._end()

    def _end(self) -> bool:
        """Give up the file; whether it was not given up before."""
        with self._lock:
            first, self._gone = not self._gone, True
            self._sealed = True
            self._close_if_idle()
            self._let_go(self._reserved)
        return first

    def _let_go(self, nbytes: int) -> None:
        nbytes = min(nbytes, self._reserved)
        if nbytes:
            self._reserved -= nbytes
            self.staging.room.release(nbytes)

    def _enter(self) -> int:
        with self._lock:
            if self._gone:
                raise MirrorError("the staged file is published or discarded already")
            if self._descriptor < 0:
                with translating(STAGING):
                    self._descriptor = self._open_again()
            self._users += 1
            return self._descriptor

    def _open_again(self) -> int:
        descriptor = os.open(self.name, _AGAIN, dir_fd=self.staging.folder)
        try:
            if self.is_ours(os.fstat(descriptor)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        raise MirrorError("the staged file is not the one that was written")

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._sealed:
                self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._users == 0 and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _read_at(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


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
