"""One engine at a time on one directory: the lease, and the bell that wakes its holder.

The kernel drops a lease when its holder dies, however it dies, so a stale one cannot be. Removing
the file of a living holder makes no second one: whoever leads also listens to the bell.
"""

import errno
import fcntl
import os
import select
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from datasync.errors import LeaseHeld, MirrorError, MirrorUnavailable

NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
LEASE_FILE = "lease.lock"
BELL_FILE = "wake"

HELD = "another process runs the engine for this directory"
REMOVED_HINT = "Leave it alone: it says nothing, and is free at once when its holder ends."

Folder = Callable[[], AbstractContextManager[int]]  # gives a descriptor of `.datasync`


class Lease:
    """An exclusive `flock` on `lease.lock` in the mirror's own folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lease, or raise at once.

        Raises: LeaseHeld, MirrorError.
        """
        if self.held:
            raise LeaseHeld("this process already runs the engine for this directory")
        flags = os.O_RDWR | os.O_CREAT | NO_LINK
        with self._folder() as folder:
            descriptor = os.open(LEASE_FILE, flags, 0o644, dir_fd=folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._descriptor = descriptor
            self.require()
        except OSError as error:
            self._descriptor = None
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise LeaseHeld(HELD) from error
            raise MirrorUnavailable(f"the lease cannot be taken: {error.strerror}") from error
        except MirrorError:
            self.release()
            raise

    def require(self) -> None:
        """Prove that the file we locked is still the one that others would lock.

        Raises: MirrorError; not when it cannot be looked at, which proves nothing.
        """
        if self._descriptor is None:
            raise MirrorError("the lease is not held")
        try:
            with self._folder() as folder:
                found = _look(folder)
        except (OSError, MirrorError):  # no descriptors, or a disk in trouble
            return
        if found is None or not os.path.samestat(found, os.fstat(self._descriptor)):
            raise MirrorError(f"{LEASE_FILE} was removed while it was held", hint=REMOVED_HINT)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _look(folder: int) -> os.stat_result | None:
    """The lease's file as it is now; None when there is none."""
    try:
        return os.stat(LEASE_FILE, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


class Bell:
    """A named pipe: any process rings it, the holder of the lease waits on it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._listening: int | None = None

    def listen(self) -> None:
        """Open the pipe for waiting. To be called with the lease in hand.

        Raises: LeaseHeld when another process listens, MirrorError.
        """
        with self._folder() as folder:
            _make_pipe(folder)
            if _is_heard(folder):  # a holder whose lease file was removed
                raise LeaseHeld(HELD)
            # For reading and writing, so that it never reports an end of file between ringers.
            flags = os.O_RDWR | os.O_NONBLOCK | NO_LINK
            self._listening = os.open(BELL_FILE, flags, dir_fd=folder)

    def wait(self, timeout_seconds: float) -> bool:
        """Sleep until somebody rings or the time is over; whether somebody rang."""
        if self._listening is None:
            return False
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        if not poll.poll(max(0, int(timeout_seconds * 1000))):
            return False
        with suppress(BlockingIOError):
            while os.read(self._listening, 4096):
                pass
        return True

    def ring(self) -> None:
        """Wake whoever listens, in whatever process; nobody listening is no error."""
        flags = os.O_WRONLY | os.O_NONBLOCK | NO_LINK
        # When nobody listens, the next leader looks at everything as it begins.
        with suppress(MirrorError), self._folder() as folder, suppress(OSError):
            descriptor = os.open(BELL_FILE, flags, dir_fd=folder)
            with open(descriptor, "wb", buffering=0) as pipe:
                pipe.write(b"!")

    def close(self) -> None:
        descriptor, self._listening = self._listening, None
        if descriptor is not None:
            os.close(descriptor)


def _is_heard(folder: int) -> bool:
    """Whether any process has the pipe open for reading."""
    try:
        os.close(os.open(BELL_FILE, os.O_WRONLY | os.O_NONBLOCK | NO_LINK, dir_fd=folder))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def _make_pipe(folder: int) -> None:
    with suppress(FileNotFoundError):
        found = os.stat(BELL_FILE, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISFIFO(found.st_mode):
            return
        os.unlink(BELL_FILE, dir_fd=folder)
    with suppress(FileExistsError):
        os.mkfifo(BELL_FILE, 0o600, dir_fd=folder)
