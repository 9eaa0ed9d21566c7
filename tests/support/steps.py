"""Every step by which the storage changes the disk, as a list, with a hand on it.

`Steps` wraps the calls of the operating system that `datasync/services/storage` uses, and the
commits of its ledger. Each of them asks `before` first: a test counts them there, or ends the
process. Nothing of this is in the product.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection

from datasync.utils import file_utils

CALLS = ("mkdir", "rmdir", "unlink", "utime", "rename", "link", "pwrite", "fsync", "mkfifo")
COMMIT = "commit"

Before = Callable[[str], None]


@contextmanager
def watched(before: Before) -> Iterator[None]:
    """Call `before` with the name of each step, just before it is done."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, _first(before, name, getattr(os, name)))
        patch.setattr(os, "open", _opening(before, os.open))
        patch.setattr(file_utils, "_call", _calling(before, file_utils._call))
        patch.setattr(Connection, "commit", _first(before, COMMIT, Connection.commit))
        yield


def _first(before: Before, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        before(name)
        return original(*given, **named)

    return call


def _opening(before: Before, original: Callable[..., int]) -> Callable[..., int]:
    def call(path: Any, flags: int, *given: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            before("create")
        return original(path, flags, *given, **named)

    return call


def _calling(before: Before, original: Callable[..., None]) -> Callable[..., None]:
    def call(name: str, *given: Any) -> None:
        before(name)
        original(name, *given)

    return call
