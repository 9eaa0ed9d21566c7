"""Faults of the operating system at any step of ours: `with faults.on(point, errno.EIO): ...`.

Every call into the `os` module, and the few calls of the C library that `utils/file_utils.py`
makes, is a fault point: its name is that of the function of ours that makes it. Points are found
by watching a run without faults, so that a step which is added later is a point by itself.
SQLite speaks to the disk on its own: there each statement and each commit is a point, and fails
as SQLite fails for that errno. `faults.seen` and `CAUSES` make the matrix.
"""

import errno
import fcntl
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Connection

from datasync.utils import file_utils

CAUSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE)
# What can be asked of the disk: by path, by descriptor, or below a folder's descriptor.
_BY_HANDLE = os.supports_fd | os.supports_dir_fd | os.supports_follow_symlinks
_OTHERS = {
    *("fstat", "lstat", "listdir", "mkfifo", "dup", "posix_fallocate"),
    *("fsync", "fdatasync", "pread", "pwrite", "read", "write"),
}
_NEVER = {"access", "execve"}
# What SQLite makes of an errno (its source, os_unix.c): only ENOSPC has a code of its own.
_SQLITE = {
    errno.ENOSPC: (sqlite3.SQLITE_FULL, "database or disk is full"),
    errno.EROFS: (sqlite3.SQLITE_READONLY, "attempt to write a readonly database"),
    errno.EMFILE: (sqlite3.SQLITE_CANTOPEN, "unable to open database file"),
}
_IOERR = (sqlite3.SQLITE_IOERR, "disk I/O error")
_DEPTH = 12  # frames looked at for functions of ours
_TRANSPARENT = {"datasync.services.storage.ledger.database", "datasync.utils.file_utils"}


class Faults:
    """Watches every step that touches the disk, and makes one of them fail on demand."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}  # point -> how often it was passed
        self.struck = 0
        self._point: str | None = None
        self._number = 0
        self._lock = threading.Lock()

    @contextmanager
    def on(self, point: str, number: int) -> Iterator[None]:
        """Inside, the point fails with this errno whenever it is passed; `struck` counts that."""
        self.struck = 0
        self._number, self._point = number, point
        try:
            yield
        finally:
            self._point = None

    def meets(self, point: str) -> int:
        """Note that a point is passed; the errno that it is to fail with, 0 for none."""
        with self._lock:
            self.seen[point] = self.seen.get(point, 0) + 1
            if point != self._point:
                return 0
            self.struck += 1
            return self._number


def reason(number: int, point: str) -> str:
    """The words by which an error must name its cause."""
    return _SQLITE.get(number, _IOERR)[1] if point.startswith("SQL ") else os.strerror(number)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The injector; it watches until the test is over."""
    made = Faults()
    names = {function.__name__ for function in _BY_HANDLE} | _OTHERS
    for name in sorted(names - _NEVER):
        monkeypatch.setattr(os, name, _watched(made, getattr(os, name), name))
    monkeypatch.setattr(fcntl, "flock", _watched(made, fcntl.flock, "flock"))
    monkeypatch.setattr(file_utils, "_call", _watched(made, file_utils._call, None))
    monkeypatch.setattr(Connection, "execute", _watched_sql(made, Connection.execute, "execute"))
    monkeypatch.setattr(Connection, "commit", _watched_sql(made, Connection.commit, "commit"))
    driver_sql = _watched_sql(made, Connection.exec_driver_sql, "execute")
    monkeypatch.setattr(Connection, "exec_driver_sql", driver_sql)
    yield made


def _watched(faults: Faults, real: Callable[..., Any], name: str | None) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        where = _ours(sys._getframe(1), "datasync.services")
        if where is not None:
            number = faults.meets(f"{where}: {name or given[0]}")
            if number:
                raise OSError(number, os.strerror(number))
        return real(*given, **named)

    return call


def _watched_sql(faults: Faults, real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        where = _ours(sys._getframe(1), "datasync.services.storage.ledger")
        if where is not None:
            number = faults.meets(f"SQL {where}: {name}")
            if number:
                raise sqlite_error(number)
        return real(*given, **named)

    return call


def sqlite_error(number: int) -> sqlite3.OperationalError:
    """What SQLite raises when the system refuses it a call with this errno."""
    code, said = _SQLITE.get(number, _IOERR)
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode = code
    return error


def _ours(frame: FrameType | None, *packages: str) -> str | None:
    """The function of ours that makes a call, behind the one of another module that wanted it.

    None when no function of these packages is near.
    """
    found: list[tuple[str, str]] = []
    for _ in range(_DEPTH):
        if frame is None:
            break
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(packages) and module not in _TRANSPARENT:
            name = f"{module.rpartition('.')[2]}.{frame.f_code.co_qualname}"
            if found and found[0][0] != module:
                return f"{name} > {found[0][1]}"
            found.append((module, name))
        frame = frame.f_back
    return found[0][1] if found else None
