"""Tries what the mirror needs of a file system, in a folder given by its descriptor.

Each function tries one ability and raises OSError where the system refuses. Nothing here is
judged, and nothing is left but files in that folder.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from datasync.utils.file_utils import DiskCalls, is_unsupported

LONGEST_NAME = 255  # bytes, of every file system that matters
ODD_SECONDS = 1_700_000_001  # odd: a file system with steps of two seconds cannot keep it
FILE_TIME_NS = ODD_SECONDS * 10**9 + 123_456_789
# Names that some file systems refuse, change, or take for one another.
NAMES = {
    "255 bytes": (b"n" * LONGEST_NAME,),
    'characters such as : * ? " < > | \\': (b'a:*?"<>|\\', b"trailing dot.", b"trailing space "),
    "control characters": (b"line\nbreak", b"\x01\x1b\x7f"),
    "letters of every script": ("Grüße-東京-🚀".encode(),),
    "accents in both forms": ("caf\u00e9".encode(), "cafe\u0301".encode()),
}
RAW_NAME = b"\xff\xfe-not-utf-8"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Replacing:
    """What renaming over a file did: `whole` when readers see the old or the new file, whole."""

    whole: bool
    keeps_free: bool  # a rename that must not replace did not
    exchanges: bool  # two names can be swapped in one step


@contextmanager
def new_file(folder: int, name: bytes | None = None, content: bytes = b"") -> Iterator[int]:
    """A new file's descriptor. Raises: OSError."""
    descriptor = os.open(name or _name(), _NEW, 0o600, dir_fd=folder)
    try:
        os.write(descriptor, content)
        yield descriptor
    finally:
        os.close(descriptor)


def _name() -> bytes:
    return secrets.token_hex(8).encode()


def write_and_read(folder: int) -> bool:
    """Whether bytes that were written come back."""
    content = secrets.token_bytes(64)
    with new_file(folder, content=content) as descriptor:
        return os.pread(descriptor, 65, 0) == content


def replace(folder: int, calls: DiskCalls) -> Replacing:
    """Rename one file over another that is being read, and what else renames can do."""
    old, new, other = _name(), _name(), _name()
    with new_file(folder, old, b"old") as reader, new_file(folder, new, b"new"):
        calls.replace(new, folder, old, folder)
        readers_own = os.pread(reader, 4, 0) == b"old"
    whole = readers_own and _content(folder, old) == b"new" and not _exists(folder, new)
    with new_file(folder, other, b"other"):
        pass
    return Replacing(whole, _keeps(folder, other, old, calls), _swaps(folder, other, old, calls))


def _keeps(folder: int, source: bytes, taken: bytes, calls: DiskCalls) -> bool:
    try:
        calls.rename_new(source, folder, taken, folder)
    except FileExistsError:
        return True
    return False


def _swaps(folder: int, one: bytes, other: bytes, calls: DiskCalls) -> bool:
    try:
        calls.exchange(one, folder, other, folder)
    except OSError as error:
        if is_unsupported(error) or isinstance(error, FileNotFoundError):
            return False
        raise
    return True


def _content(folder: int, name: bytes) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)


def _exists(folder: int, name: bytes) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


def flush(folder: int, calls: DiskCalls) -> float:
    """Make a file, its folder and the file system durable; the seconds that took."""
    with new_file(folder, content=b"durable") as descriptor:
        begun = time.monotonic()
        calls.sync(descriptor)
        calls.sync(folder)
        calls.sync_file_system(descriptor)
        return time.monotonic() - begun


def lock(folder: int) -> bool:
    """Whether a lock that one descriptor holds keeps another one out."""
    name = _name()
    with new_file(folder, name) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other = os.open(name, os.O_RDWR | os.O_CLOEXEC, dir_fd=folder)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(other)
    return False


def make_pipe(folder: int) -> None:
    """Make a named pipe and ring it, as whoever marks a key does."""
    name = _name()
    os.mkfifo(name, 0o600, dir_fd=folder)
    descriptor = os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(descriptor, b"!")
    finally:
        os.close(descriptor)


def unstorable_names(folder: int) -> list[str]:
    """The kinds of names that this file system does not keep as they are."""
    return [kind for kind, names in NAMES.items() if not _keeps_names(folder, names)]


def takes_any_bytes(folder: int) -> bool:
    """Whether names may be bytes that are not UTF-8. No key of S3 needs it."""
    return _keeps_names(folder, (RAW_NAME,))


def _keeps_names(folder: int, names: tuple[bytes, ...]) -> bool:
    try:
        for name in names:
            with new_file(folder, name):
                pass
        return set(names) <= set(map(os.fsencode, os.listdir(folder)))
    except OSError:
        return False


def tells_case(folder: int) -> bool:
    """Whether upper and lower case make two names."""
    with new_file(folder, b"letter-case"):
        return not _exists(folder, b"LETTER-CASE")


def keep_time(folder: int) -> int:
    """What is kept of `FILE_TIME_NS` as a file's time, in nanoseconds since the epoch."""
    with new_file(folder) as descriptor:
        os.utime(descriptor, ns=(FILE_TIME_NS, FILE_TIME_NS))
        return os.fstat(descriptor).st_mtime_ns
