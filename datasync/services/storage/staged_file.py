"""A file on its way: it is written, proved and then given its name, or discarded.

Knows no keys and no final paths.
"""

import os
import stat
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from datasync.errors import MirrorError
from datasync.services.storage.directories import translated, translating
from datasync.services.storage.paths import INTERNAL

if TYPE_CHECKING:
    from datasync.services.storage.staging import StagingFolder

STAGING = f"{INTERNAL}/staging"
STEP_BYTES = 256 * 1024
STEP_PIECES = 256
_AGAIN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class StagedFile:
    """A file being written. Its owner publishes or discards it.

    Calls may come from several threads. The descriptor is open only while it is needed: it is
    closed when the announced size is written, and opened again on demand.
    """

    __slots__ = (
        "name",
        "size",
        "staging",
        "mtime",
        "identity",
        "_descriptor",
        "_expected",
        "_generation",
        "_gone",
        "_lock",
        "_reserved",
        "_sealed",
        "_users",
        "_written",
    )

    def __init__(
        self,
        staging: "StagingFolder",
        name: bytes,
        descriptor: int,
        identity: tuple[int, int],
        size: int | None,
    ) -> None:
        """An empty file of this device and inode; `size` in bytes is announced, None: unknown."""
        self.staging = staging
        self.name = name
        self.size = 0  # bytes written: the highest end
        self.mtime: int | None = None  # its time in seconds, once it was given one
        self.identity = identity
        self._generation = staging.generation
        self._expected = size
        self._written = 0
        self._reserved = size or 0  # bytes that the disk must keep free for this file
        self._descriptor = descriptor
        self._users = 0
        self._lock = threading.Lock()
        self._gone = False
        self._sealed = False
        if size == 0:
            self.seal()

    @classmethod
    def whole(
        cls,
        staging: "StagingFolder",
        name: bytes,
        identity: tuple[int, int],
        size: int,
        generation: int,
        mtime: int | None,
    ) -> Self:
        """A file that has all its bytes; `generation` is that of the time before it was begun."""
        file = cls(staging, name, -1, identity, None)
        file.size, file.mtime = size, mtime
        file._generation = generation
        file._sealed = True
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    @property
    def intact(self) -> bool:
        """Whether no write error was heard of since this file was begun."""
        return not self._gone and self._generation == self.staging.generation

    @property
    def gone(self) -> bool:
        """Whether it has its final name, or was discarded."""
        return self._gone

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
            self.mtime = None
            self.size = max(self.size, offset + len(data))
            self._written += len(data)
            self._let_go(len(data))
            complete = self._expected is not None and self._written >= self._expected
        if complete:
            self.seal()

    def write_out(self, offset: int, nbytes: int) -> None:
        """Begin to write this part to the disk; may wait for it. Raises: MirrorError."""
        descriptor = self._enter()
        try:
            self.staging.calls.write_out(descriptor, offset, nbytes)
        finally:
            self._leave()

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
        return stat.S_ISREG(status.st_mode) and self.identity == (status.st_dev, status.st_ino)

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


class Writer:
    """Writes to a staged file from `offset` on, in steps that are worth a call to the system.

    `arrived` is the offset behind what it was given, `written` that behind what is in the file
    and was given to `watch`, in order.
    """

    def __init__(
        self, staged: StagedFile, offset: int = 0, watch: Callable[[bytes], None] | None = None
    ) -> None:
        self.arrived = self.written = offset
        self._staged = staged
        self._watch = watch
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Raises: DiskFull, MirrorError."""
        self._pieces.append(data)
        self.arrived += len(data)
        if self.arrived - self.written >= STEP_BYTES or len(self._pieces) >= STEP_PIECES:
            self.flush()

    def flush(self) -> None:
        """Write what was given and waits. Raises: DiskFull, MirrorError."""
        if self._pieces:
            data, whole = b"".join(self._pieces), self.arrived
            self._pieces, self.arrived = [], self.written  # lost, if it cannot be written
            self._staged.write_at(self.written, data)
            if self._watch is not None:
                self._watch(data)
            self.written = self.arrived = whole  # another thread may ask what has been watched


def _read_at(descriptor: int, offset: int, length: int) -> bytes:
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
