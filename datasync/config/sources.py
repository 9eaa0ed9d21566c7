"""Where raw settings come from: the environment and `.env`. Empty means unset.

LOG_FILE is the exception: empty there is an answer (no file), so it must not fall through to
the default or to a lower source. Knows nothing of what the values mean.
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic_settings import EnvSettingsSource

from datasync.errors import ConfigurationError

EMPTY_IS_A_VALUE = frozenset({"log_file"})
ENV_FILE = Path(".env")


def env_file_values() -> dict[str, str | None]:
    """The variables of `.env` in the working directory; none when there is no such file.

    Raises: ConfigurationError with one line for each line of it that is no setting.
    """
    if not ENV_FILE.is_file():
        return {}
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


def _says_nothing(found: Binding) -> bool:
    exported = found.original.string.lstrip().startswith("export")
    return found.error or (found.key is not None and found.value is None and not exported)


def _line_of(found: Binding) -> int:
    text = found.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return found.original.line + len(blank.splitlines())


def _given(variables: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """The variables that say something. A prefix may be made of spaces, nothing else may."""
    for name, value in variables.items():
        if value and (value.strip() or name == "s3_prefix") or name in EMPTY_IS_A_VALUE:
            yield name, value


class VariableSource(EnvSettingsSource):
    """The process environment."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        self.env_ignore_empty = False
        return dict(_given(super()._load_env_vars()))


class FileSource(EnvSettingsSource):
    """The `.env` file; variables that are not ours stay out."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        self.env_ignore_empty = False
        known = self.settings_cls.model_fields
        found = {name.lower(): value for name, value in env_file_values().items()}
        return {name: value for name, value in _given(found) if name in known}
