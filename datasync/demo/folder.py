"""The demo's own directory: taken for one demo at a time, never somebody's real mirror."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasync.errors import ConfigurationError

PRIVATE = ".datasync"
MARK = "demo"


@contextmanager
def demo_folder(root: Path) -> Iterator[Path]:
    """Hold `root` for this demo. What an earlier demo knew is forgotten, its files stay.

    Raises: ConfigurationError when the directory is in use, or holds what no demo has made.
    """
    handle = _take(root)
    try:
        _forget(root)
        yield root
    finally:
        os.close(handle)


def _take(root: Path) -> int:
    mark = root / PRIVATE / MARK
    if root.is_dir() and any(root.iterdir()) and not mark.is_file():
        raise ConfigurationError(
            f"{root} is not empty and no demo has made it",
            hint="Move it away, or start the demo in another directory.",
        )
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(
            f"{root} cannot be used: {error.strerror}",
            hint="Start the demo in a directory that you may write to.",
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise ConfigurationError(
            f"another demo is running in {root}",
            hint="Stop it with Ctrl-C, or start this one in another directory.",
        ) from None
    return handle


def _forget(root: Path) -> None:
    """The bucket is a new one each time, so an old ledger would only speak of a lost one."""
    for entry in (root / PRIVATE).iterdir():
        if entry.name == MARK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
