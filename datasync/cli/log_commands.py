"""`datasync logs`: the end of the log file, and what follows.

Knows the two forms of our lines; a line that continues another one (of a traceback) goes with it.
"""

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import IO, Annotated

import typer

from datasync.cli import exits
from datasync.cli.session import read
from datasync.cli.terminal import output, print_line_raw, remark, show_lines
from datasync.errors import ConfigurationError

LOOK_SECONDS = 0.25
# Of a console line the second word, of a JSON line the member.
_LEVEL = re.compile(r'^(?:\{"timestamp": "[^"]*", "level": "(\w+)"|[\dT:.Z-]{24} ([A-Z]+) )')
_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}


class Level(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_ORDER = [level.name for level in Level]


def logs(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="So many of the latest entries.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
    level: Annotated[
        Level, typer.Option(case_sensitive=False, help="Only entries at least so important.")
    ] = Level.DEBUG,
    match: Annotated[str | None, typer.Option(help="Only entries that contain this.")] = None,
) -> int:
    """Show the latest entries of LOG_FILE."""
    path = read().log_file
    if path is None:
        raise ConfigurationError(
            "LOG_FILE is empty: the service writes its log to stderr only",
            hint="Look where stderr goes: journalctl -u datasync, docker logs datasync.",
        )
    levels = _ORDER[_ORDER.index(level.name) :]

    def is_wanted(entry: str) -> bool:
        return entry_level(entry) in levels and (match is None or match in entry)

    with closing(Follower(path)) as follower:
        for entry in deque(filter(is_wanted, follower.so_far()), maxlen=lines):
            _print(entry)
        if not follower.found:
            remark(f"{path} is not there yet: no service has written a log here.")
        if follow:
            show_lines()
            for entry in filter(is_wanted, follower.from_now_on()):
                _print(entry)
    return exits.DONE


def entry_level(entry: str) -> str:
    """The level that an entry says; INFO for one that is not ours."""
    found = _LEVEL.match(entry)
    return (found[1] or found[2]).upper() if found else "INFO"


class Follower:
    """Reads entries from a log file, also when it is replaced by an empty one meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._part = ""
        self.found = False

    def close(self) -> None:
        """Read nothing more."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def so_far(self) -> Iterator[str]:
        """The entries that are there."""
        self._open()
        yield from self._read(whole=True)

    def from_now_on(self) -> Iterator[str]:
        """What is appended, for ever."""
        while True:
            yield from self._read(whole=False)
            if self._is_replaced():
                yield from self._read(whole=True)
                self._open()
                continue
            time.sleep(LOOK_SECONDS)

    def _open(self) -> None:
        with suppress(FileNotFoundError), self._readable():
            file = open(self._path, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            if self._file is not None:
                self._file.close()
            self._file, self.found = file, True

    def _is_replaced(self) -> bool:
        """Whether the name leads to another file than the one that is read."""
        try:
            with self._readable():
                now = self._path.stat()
        except FileNotFoundError:
            return False
        if self._file is None:
            return True
        held = os.fstat(self._file.fileno())
        return (held.st_dev, held.st_ino) != (now.st_dev, now.st_ino)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Raises: FileNotFoundError, which passes, and ConfigurationError for every other."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ConfigurationError(
                f"LOG_FILE cannot be read: {self._path}: {error.strerror}",
                hint="Ask as the user that the service runs as.",
            ) from error

    def _read(self, *, whole: bool) -> Iterator[str]:
        """Entries of what has been appended; the last line only if it has its end, or `whole`."""
        entry: list[str] = []
        for line in self._lines(whole):
            if entry and not line.startswith((" ", "\t")):
                yield "\n".join(entry)
                entry = []
            entry.append(line)
        if entry:
            yield "\n".join(entry)

    def _lines(self, whole: bool) -> Iterator[str]:
        if self._file is None:
            return
        for line in self._file:
            self._part += line
            if self._part.endswith("\n"):
                yield self._part.rstrip("\n")
                self._part = ""
        if whole and self._part:
            yield self._part
            self._part = ""


def _print(entry: str) -> None:
    console = output()
    if not console.is_terminal:
        print_line_raw(entry)
        return
    from rich.text import Text

    console.print(Text(entry, style=_STYLES.get(entry_level(entry), "")))
