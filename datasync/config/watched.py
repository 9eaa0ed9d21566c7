"""Secrets that change while the service runs: their files are looked at now and then.

Files are replaced by Docker, Kubernetes and people in all kinds of ways; what counts is what is
in them. A bad one changes nothing: the secrets that were good before stay good.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import SecretStr

from datasync.config import checks
from datasync.models.access import ApiKey, api_keys
from datasync.utils.logger import get_logger, mask_also

LOOK_SECONDS = 1.0
T = TypeVar("T")


class Watched(Generic[T]):
    """The value that a file holds. Call it for the one of now; for one thread.

    `read` makes a value of the file's text, or raises ValueError with words that follow the
    variable's name. `name` is that of the variable.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        read: Callable[[str], T],
        first: T,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._path = path
        self._read = read
        self._value = first
        self._clock = clock
        self._look_at = 0.0
        self._seen: tuple[int, ...] | None = None  # the file as it was at the last look
        self._taken: tuple[int, ...] | None = None
        self._refused = ""

    def __call__(self) -> T:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()
        return self._value

    def _look(self) -> None:
        """Take what is new in the file, once it has stayed the same for two looks."""
        try:
            status = os.stat(self._path)
            mark = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            settled, self._seen = mark == self._seen, mark
            if settled and mark != self._taken:
                text = self._path.read_text(encoding="utf-8")
                self._taken = mark  # only once it could be read: its rights are no part of the mark
                self._take(text)
        except UnicodeError:
            self._refuse("it is not UTF-8 text")
        except OSError as error:
            self._refuse(error.strerror or "input/output error")
        except ValueError as error:
            self._refuse(str(error))

    def _take(self, text: str) -> None:
        value = self._read(text)
        if value != self._value:
            self._value = value
            get_logger(__name__).info("secret changed", setting=self._name)
        self._refused = ""

    def _refuse(self, reason: str) -> None:
        if reason != self._refused:
            self._refused = reason
            get_logger(__name__).warning(
                "secret file cannot be used; what it held before stays",
                setting=self._name,
                reason=reason,
            )


def watched(name: str, path: Path | None, read: Callable[[str], T], first: T) -> Callable[[], T]:
    """What gives the value of now: of the file if there is one, else the first for ever."""
    if path is None:
        return lambda: first
    return Watched(name, path, read, first)


def keys_in(text: str) -> Sequence[ApiKey]:
    """What API_KEYS_FILE holds; its secrets are kept out of the log. Raises: ValueError."""
    entries = tuple(SecretStr(entry) for entry in checks.entries_in(text))
    if not entries:
        raise ValueError("holds no key")
    checks.keys(entries)
    found = api_keys(entry.get_secret_value() for entry in entries)
    mask_also(key.secret for key in found if key.secret)
    return found


def secret_in(text: str) -> str | None:
    """The same for NOTIFICATION_SECRET_FILE. Raises: ValueError."""
    secret = SecretStr(text.strip())
    if not secret.get_secret_value():
        raise ValueError("is empty")
    checks.printable(secret)
    mask_also([secret.get_secret_value()])
    return secret.get_secret_value()
