"""Where raw settings come from: the environment and `.env`. Empty means unset.

LOG_FILE is the exception: empty there is an answer (no file), so it must not fall through to
the default or to a lower source. Knows nothing of what the values mean.
"""

import io
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from datasync.errors import ConfigurationError

if TYPE_CHECKING:
    from dotenv.parser import Binding

EMPTY_IS_A_VALUE = frozenset({"log_file"})
ENV_FILE = Path(".env")


def env_file_values() -> dict[str, str | None]:
    """The variables of `.env` in the working directory; none when there is no such file.

    Raises: ConfigurationError with one line for each line of it that is no setting.
    """
    if not ENV_FILE.is_file():
        return {}
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = _text_of(ENV_FILE)
    bad = [_line_of(each) for each in parse_stream(io.StringIO(text)) if _says_nothing(each)]
    if bad:
        # Never the line itself: it may be half a secret.
        lines = (f".env line {number}: this is no setting. Example: NAME=value" for number in bad)
        raise ConfigurationError("\n".join(lines))
    return dotenv_values(stream=io.StringIO(text))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeError:
        reason = "it is not UTF-8 text; save it as UTF-8"
    except OSError as error:
        reason = error.strerror or "input/output error"
    raise ConfigurationError(f".env: cannot be read: {reason}")


def _says_nothing(found: "Binding") -> bool:
    exported = found.original.string.lstrip().startswith("export")
    return found.error or (found.key is not None and found.value is None and not exported)


def _line_of(found: "Binding") -> int:
    text = found.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return found.original.line + len(blank.splitlines())


def given_values(names: Container[str]) -> dict[str, str]:
    """What is given for these settings, by attribute name; the environment wins over `.env`.

    Raises: ConfigurationError, as `env_file_values`.
    """
    return {**_given(env_file_values(), names), **_given(os.environ, names)}


def _given(variables: Mapping[str, str | None], names: Container[str]) -> dict[str, str]:
    """Those of them that say something. A prefix may be made of spaces, nothing else may."""
    found = {variable.lower(): value for variable, value in variables.items()}
    return {
        name: value
        for name, value in found.items()
        if name in names and value is not None and _says_something(name, value)
    }


def _says_something(name: str, value: str) -> bool:
    said = value != "" if name == "s3_prefix" else value.strip() != ""
    return said or name in EMPTY_IS_A_VALUE
