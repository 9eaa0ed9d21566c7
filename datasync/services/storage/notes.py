"""What a process is about to place, written beside its lock for whoever comes after it.

A file has its name before it has its ledger row. Of a process that dies between the two, the
notes tell which files are ours although no row speaks of them. Knows no ledger and no S3.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress

from datasync.models.values import value
from datasync.services.storage.directories import Directories
from datasync.services.storage.staged_file import STAGING
from datasync.services.storage.staging import OWNER, Staging, lock_of_the_dead

_quoted = json.encoder.encode_basestring_ascii
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@value(frozen=True, slots=True)
class Note:
    """A file that is about to get a name of its key. Size in bytes, time in nanoseconds."""

    key: str
    etag: str
    size: int
    mtime_ns: int


class Notes:
    """This process's notes, and those that dead ones left."""

    def __init__(
        self,
        staging: Callable[[], Staging],
        session: Callable[[str], AbstractContextManager[Directories]],
    ) -> None:
        self._staging = staging
        self._session = session

    def add(self, notes: Sequence[Note]) -> None:
        """Note files before they are placed; it survives the process.

        Raises: DiskFull, MirrorError.
        """
        if notes:
            lines = [_line(note) for note in notes]
            self._staging().note("".join(lines).encode())

    def forget(self) -> None:
        """All that was placed is recorded. Raises: MirrorError."""
        self._staging().forget_notes()

    def left(self) -> list[Note]:
        """The notes of dead processes, and of this one, that were not forgotten.

        A sweep removes those of the dead. Raises: MirrorError.
        """
        own = self._staging().token + OWNER
        found: list[Note] = []
        with self._session(STAGING) as directories:
            folder = directories.open(STAGING)
            for name in directories.names(STAGING):
                if name.endswith(OWNER) and (name == own or _is_dead(folder, name)):
                    found += _notes_in(folder, name)
        return found


def _line(note: Note) -> str:
    return f"[{_quoted(note.key)}, {_quoted(note.etag)}, {note.size}, {note.mtime_ns}]\n"


def _is_dead(folder: int, owner: bytes) -> bool:
    with suppress(OSError):  # nothing that we could read notes from
        lock = lock_of_the_dead(folder, owner)
        if lock is not None and lock >= 0:
            os.close(lock)
            return True
    return False


def _notes_in(folder: int, owner: bytes) -> Iterable[Note]:
    with suppress(FileNotFoundError), open(os.open(owner, _READ, dir_fd=folder), "rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            for line in file:
                with suppress(ValueError, TypeError):  # its writer died in the middle of it
                    key, etag, size, mtime_ns = json.loads(line)
                    yield Note(str(key), str(etag), int(size), int(mtime_ns))
