"""Swapping a file into a name that is taken, so that a reader sees the old or the new one.

What was there is kept, whatever it is: it ends in a free place in the trash. Knows no keys.
"""

import errno
import os
import stat
from contextlib import suppress
from typing import NamedTuple

from datasync.services.storage.directories import look
from datasync.utils.file_utils import DiskCalls, is_unsupported

_NO_HARD_LINKS = (errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class Spot(NamedTuple):
    """A name in a folder whose handle is open."""

    name: bytes
    folder: int


def displace(calls: DiskCalls, source: Spot, target: Spot, slot: Spot) -> None:
    """Move `source` to `target`, and what is at `target` to the free `slot`.

    The new file waits in the slot for the exchange, never the other way round: a crash between
    the steps then leaves a spare copy of the new one in the trash, and loses nothing.

    Raises: IsADirectoryError (a folder is at `target`; nothing changed), OSError.
    """
    calls.rename_new(*source, *slot)
    try:
        calls.exchange(*slot, *target)
    except OSError as error:
        calls.rename_new(*slot, *source)
        if not is_unsupported(error):
            raise
        _displace_by_link(calls, source, target, slot)
        return
    found = look(*slot)
    if found is not None and stat.S_ISDIR(found.st_mode):
        calls.exchange(*slot, *target)
        calls.rename_new(*slot, *source)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _displace_by_link(calls: DiskCalls, source: Spot, target: Spot, slot: Spot) -> None:
    """Without an exchange: a second name for the old file first, then rename over the first."""
    try:
        calls.link(*target, *slot)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _require_no_folder(target)
        calls.rename_new(*target, *slot)  # no hard links here: for a moment the name is free
        try:
            calls.rename_new(*source, *target)
        except OSError:
            with suppress(FileExistsError):
                calls.rename_new(*slot, *target)
            raise
        return
    calls.replace(*source, *target)


def _require_no_folder(target: Spot) -> None:
    found = look(*target)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
