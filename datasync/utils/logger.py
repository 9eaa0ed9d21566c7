"""Log lines: one event a line, to stderr and to a rotated file, safe to read and to share.

Every line, ours or a library's, goes the same way: level, time, context, secrets masked,
characters that could forge a line escaped, rendered once, written. Must not know the settings:
`configure_logging` gets plain values. Importing opens nothing. The file is `log_file`'s.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

if TYPE_CHECKING:
    from datasync.utils.log_file import LogFile

MASK = "[redacted]"

# Libraries whose own INFO and DEBUG lines carry requests, signatures or every SQL statement.
QUIET = (
    *("boto3", "botocore", "s3transfer", "awscrt", "urllib3", "sqlalchemy", "alembic"),
    *("asyncio", "httpx", "httpcore", "psycopg"),
)
# Servers that bring handlers of their own; their lines go our way instead.
ADOPTED = ("uvicorn", "uvicorn.error", "uvicorn.access", "gunicorn.error", "gunicorn.access")

_SHORTEST_SECRET = 4  # masking shorter ones would only garble every line
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|authori[sz]ation|api[_-]?keys?|access[_-]?key"
    r"|credential|cookie|signature",
    re.IGNORECASE,
)


def names_a_secret(name: str) -> bool:
    """Whether what is called so is a secret."""
    return _SECRET_NAME.search(name) is not None


_SECRET_TEXT = re.compile(
    r"(?<=X-Amz-Signature=)\w+|(?<=X-Amz-Security-Token=)[^&\s\"']+"
    r"|(?<=X-Amz-Credential=)[^&\s\"']+|(?<=Signature=)\w+"
    r"|(?<=Bearer )\S+|(?<=://)[^/@\s]+(?=@)",
    re.IGNORECASE,
)
_SECRET_MARKS = ("mz-", "Signature=", "earer ", "@")
_PLAIN = (bool, int, float, type(None))
_NEEDS_QUOTES = re.compile(r"[\s=\"]|^$")
_LEVELS = {"warn": "warning", "fatal": "critical", "exception": "error"}


def escape_key(key: str) -> str:
    """Show a key or any foreign text on one line: what is not printable becomes an escape.

    Control characters, line ends, ANSI escapes, bidirectional overrides and lone surrogates
    are all "not printable" (Unicode categories C and Z but for the space).
    """
    if key.isprintable() and "\\" not in key:
        return key
    return "".join(_escaped(character) for character in key)


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Redaction:
    """Masks the values of secret-looking fields, and known secrets wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secrets)
        forms = {form for secret in self.secrets for form in (secret, quote(secret, safe=""))}
        known = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len)
        self._known = re.compile("|".join(map(re.escape, reversed(known)))) if known else None
        self._names: dict[str, bool] = {}

    def fields(self, event: Mapping[Any, object]) -> dict[str, Any]:
        return {str(name): self._field(str(name), value) for name, value in event.items()}

    def _field(self, name: str, value: object) -> object:
        if value is not None and self._is_secret(name):
            return MASK
        return self.value(value)

    def _is_secret(self, name: str) -> bool:
        found = self._names.get(name)
        if found is None:
            found = names_a_secret(name)
            if len(self._names) < 1000:
                self._names[name] = found
        return found

    def value(self, value: object) -> object:
        """The value in JSON's types, with every text in it masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, Mapping):
            return {self.text(name): field for name, field in self.fields(value).items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        return self.text(str(value))

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if any(mark in text for mark in _SECRET_MARKS):
            text = _SECRET_TEXT.sub(MASK, text)
        return text


@dataclass(slots=True)
class _State:
    """How lines are made and where they go. Before `configure_logging`: warnings to stderr."""

    level: int = logging.WARNING
    stderr_level: int = logging.WARNING
    as_json: bool = False
    redaction: _Redaction = _Redaction()
    file: "LogFile | None" = None


_state = _State()
_stderr_lock = threading.Lock()


class _Writer:
    """The end of structlog's chain: takes (level, line) as rendered by the last processor."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, level: int, line: str) -> None:
        _write(level, line)

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


def _write_stderr(text: str) -> None:
    # A closed or full stderr is no reason to stop the service: there is nowhere left to say so.
    with suppress(OSError, ValueError, AttributeError), _stderr_lock:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _write(level: int, text: str) -> None:
    if level >= _state.stderr_level:
        _write_stderr(text)
    if _state.file is not None:
        _state.file.write(text)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping().get(level.upper(), logging.INFO)


_second = (0, "")


def _timestamp(now: float) -> str:
    """ISO 8601 in UTC with milliseconds; the part that changes once a second is kept."""
    global _second
    whole = int(now)
    known, text = _second
    if whole != known:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        _second = (whole, text)
    return f"{text}.{int((now - whole) * 1000):03d}Z"


def _line(level: str, **event: object) -> str:
    """One rendered line (with its traceback, if `exc_info` is in the event)."""
    trace = _trace(event.pop("exc_info", None))
    clean = _state.redaction.fields(event)
    stamp = _timestamp(time.time())
    if trace:
        clean["exception"] = _state.redaction.text(trace)
    if _state.as_json:
        text = json.dumps({"timestamp": stamp, "level": level, **clean}, ensure_ascii=True)
        return text.replace("\x7f", "\\u007f") if "\x7f" in text else text
    return _console(stamp, level, clean)


def _trace(exc_info: object) -> str:
    if isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = exc_info if isinstance(exc_info, BaseException) else None
        error = sys.exc_info()[1] if exc_info and error is None else error
    return "".join(format_exception(error)).rstrip() if error is not None else ""


def _console(stamp: str, level: str, event: dict[str, Any]) -> str:
    trace = event.pop("exception", "")
    parts = [stamp, f"{level.upper():<8}", escape_key(str(event.pop("event", "")))]
    parts += [f"{escape_key(name)}={_shown(value)}" for name, value in event.items()]
    # A bar before each line of a traceback: its text can then never pass for a line of its own.
    barred = [f"\n    | {escape_key(line)}" for line in str(trace).split("\n") if trace]
    return " ".join(parts) + "".join(barred)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else str(value)
    if not text.isprintable() or "\\" in text:
        text = escape_key(text)
    if _NEEDS_QUOTES.search(text):
        return '"' + text.replace('"', '\\"') + '"'
    return text


def _render(writer: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """structlog's last processor: the event as the arguments of `_Writer.msg`."""
    level = _LEVELS.get(method, method)
    number = _number(level)
    if number < _state.level:
        raise structlog.DropEvent
    if writer.name:
        event = {"event": "", "logger": writer.name, **event}
    return (number, _line(level, **event)), {}


def _with_trace(_logger: object, method: str, event: EventDict) -> EventDict:
    if method == "exception":
        event.setdefault("exc_info", True)
    return event


_processors: list[Any] = [structlog.contextvars.merge_contextvars, _with_trace, _render]


class _LibraryHandler(logging.Handler):
    """Takes the standard library's records into the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = _LEVELS.get(record.levelname.lower(), record.levelname.lower())
            event = {"event": record.getMessage(), "logger": record.name}
            context = structlog.contextvars.get_contextvars()
            line = _line(level, **{**context, **event}, exc_info=record.exc_info)
            _write(record.levelno, line)
        except Exception:
            self.handleError(record)


def configure_logging(
    level: str = "INFO",
    file: Path | None = None,
    format: str = "console",
    *,
    secrets: Iterable[str] = (),
    stderr_level: str | None = None,
) -> None:
    """Send every line of this process to stderr and to `file`, from `level` on.

    `format` is "console" or "json"; `secrets` are texts that must appear in no line;
    `stderr_level` keeps less important lines off the terminal (they still go to the file).
    May be called again; the last call holds.
    """
    close_logging()
    _state.level = _number(level)
    _state.stderr_level = max(_state.level, _number(stderr_level or level))
    _state.as_json = format == "json"
    _state.redaction = _Redaction(secrets)
    _state.file = _open_file(file) if file is not None else None
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(_state.level),
        logger_factory=_Writer,
        cache_logger_on_first_use=False,
    )
    _adopt_libraries()


def writes_file() -> bool:
    """Whether the lines of this process go to a file."""
    return _state.file is not None


def mask_also(secrets: Iterable[str]) -> None:
    """Further texts that must appear in no line: secrets that changed since the start."""
    _state.redaction = _Redaction(_state.redaction.secrets.union(secrets))


def masked(text: str) -> str:
    """A text without the secrets that appear in no line, for what leaves by another way."""
    return _state.redaction.text(text)


def _log_file(path: Path) -> "LogFile":
    from datasync.utils.log_file import LogFile  # only where there is one to write

    return LogFile(path, _file_failed)


def _file_failed(file: str, reason: str) -> None:
    event = "LOG_FILE cannot be written; lines go to stderr only until it can"
    _write_stderr(_line("warning", event=event, file=file, reason=reason))


def _open_file(path: Path) -> "LogFile | None":
    file = _log_file(path)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return file


def try_log_file(path: Path) -> None:
    """Open a log file, and the lock beside it, as writing a line would; leave them as they are.

    Makes the folder and the files. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(_log_file(path).lockFilename)
    for each in (path, lock):
        # Without waiting: a pipe that nobody reads would hold the start up for ever.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(each, flags, 0o666))


def _adopt_libraries() -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler())
    root.setLevel(_state.level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, _state.level))
    for name in ADOPTED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def close_logging() -> None:
    """Close the log file and go back to warnings on stderr."""
    file, _state.file = _state.file, None
    _state.level = _state.stderr_level = logging.WARNING
    if file is not None:
        with suppress(OSError):
            file.end()
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _LibraryHandler)]:
        root.removeHandler(handler)
    root.setLevel(_state.level)
    structlog.reset_defaults()


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose lines carry `logger=name`. Cheap; safe at import, before any configuration."""
    return cast(FilteringBoundLogger, structlog.wrap_logger(_Writer(name), processors=_processors))


def log_many(name: str, level: str, events: Iterable[Mapping[str, object]]) -> None:
    """Write many lines at once: one lock of the file and one write for all of them.

    Each event is a mapping with "event", its text, and the line's fields. They are asked for only
    where the level is written.
    """
    number = _number(level)
    if number < _state.level:
        return
    context = structlog.contextvars.get_contextvars()
    lines = [_line(level.lower(), **{"logger": name, **context, **event}) for event in events]
    if lines:
        _write(number, "\n".join(lines))


def bind_request(**fields: object) -> AbstractContextManager[None]:
    """While the context is open, every line of this task or thread carries these fields."""
    return structlog.contextvars.bound_contextvars(**fields)
