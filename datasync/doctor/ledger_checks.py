"""Looks at the ledger and at who holds the lease. Migrates, repairs and takes nothing.

The lease is only tried where the system does not tell who holds it, and given back at once.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datasync.config.settings import Settings
from datasync.doctor.findings import Finding, failed, passed, warned
from datasync.errors import DataSyncError
from datasync.services.engine.lease import LEASE_FILE
from datasync.services.storage.ledger.claim import of_another
from datasync.services.storage.ledger.opening import inspect_database
from datasync.services.storage.mirror import Mirror
from datasync.services.storage.paths import INTERNAL

BUSY_SECONDS = 5.0
ENGINE_ADVICE = "Its log says why; a moment after the start this is no harm."


class LedgerCheck:
    """The check of the ledger. `is_current` afterwards: it is of this version, so opening it
    changes nothing."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.ledger_url()
        self._root = settings.root
        self._kind = "SQLite" if self._url.startswith("sqlite") else "PostgreSQL"
        self.is_current = False

    def look(self) -> Finding:
        """Whether it opens, and of which version it is."""
        version = inspect_database(self._url, BUSY_SECONDS)
        if version.found is None:
            return passed(f"none yet ({self._kind}); the first start makes it")
        if version.owner is not None and version.owner[0] != Mirror(self._root).marked_id():
            wrong = of_another(version.owner[1], str(self._root))
            return failed(f"{self._kind}: {wrong}", wrong.hint)
        self.is_current = version.found == version.latest
        if self.is_current:
            return passed(f"{self._kind}, version {version.found}")
        if version.found in version.known:
            return passed(
                f"{self._kind}, version {version.found}; the next start brings it to "
                f"{version.latest}"
            )
        return failed(
            f"{self._kind}, version {version.found}: of a newer DataSync than this one",
            "Use that version, or move the ledger away to have it built anew.",
        )


def look_at_lease(root: Path, served: Callable[[], bool]) -> Finding:
    """Which process runs the engine for this directory; `served`: a service of it answers."""
    holder = holder_of(root)
    if holder is not None:
        return passed(f"held by {holder}")
    if served():
        return warned("a service answers, but no process runs the engine", ENGINE_ADVICE)
    return passed("free: no process runs the engine")


def holder_of(root: Path) -> str | None:
    """Which process runs the engine for a directory, in words; None when none does.

    Raises: DataSyncError.
    """
    try:
        descriptor = os.open(
            root / INTERNAL / LEASE_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataSyncError(
            f"{LEASE_FILE} cannot be opened: {error.strerror}",
            hint="Run this as the user that the service runs as.",
        ) from error
    try:
        return _holder(descriptor)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str | None:
    process = _holding_process(os.fstat(descriptor))
    if process is not None:
        return _described(process)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "a process that cannot be seen from here"
    return None


def _holding_process(file: os.stat_result) -> int | None:
    """The process with a `flock` on this file, as the kernel lists them (proc_locks(5)).

    None as well where the file system has another device for its locks: then nobody is named.
    """
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    with suppress(OSError), open("/proc/locks", encoding="ascii") as table:
        for line in table:
            words = line.split()
            if (
                words[1:2] == ["FLOCK"]
                and words[5] == f"{device}:{file.st_ino}"
                and int(words[4]) > 0
            ):
                return int(words[4])
    return None


def _described(process: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        # A program given to `python -c`, as by the launcher that `make` installs, is no name.
        shown = [b"..." if b"\n" in word else word for word in words if word]
        command = b" ".join(shown).decode(errors="replace")
        return f"process {process} ({command[:100]})"
    return f"process {process}"
