"""Where raw settings come from: the environment, `.env`, and files that hold secrets.

Empty means unset.

LOG_FILE is the exception: empty there is an answer (no file), so it must not fall through to
the default or to a lower source. Knows nothing of what the values mean.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from datasync.errors import ConfigurationError

EMPTY_IS_A_VALUE = frozenset({"log_file"})
ENV_FILE = Path(".env")
SUFFIX = "_file"


def env_file_values() -> dict[str, str | None]:
    """The variables of `.env` in the working directory; none when there is no such file.

    Raises: ConfigurationError with one line for each line of it that is no setting.
    """
    if not os.path.isfile(ENV_FILE):
        return {}
    text = _text_of(ENV_FILE)
    bad = [_line_of(each) for each in parse_stream(io.StringIO(text)) if _says_nothing(each)]
    if bad:
        # Never the line itself: it may be half a secret.
        lines = (f".env line {number}: this is no setting. Example: NAME=value" for number in bad)
        raise ConfigurationError("\n".join(lines))
    return dotenv_values(stream=io.StringIO(text))


def left_to_libraries(prefix: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of `.env` that begin so and are not in the environment: others read them."""
    found = env_file_values().items()
    return {
        name: value
        for name, value in found
        if value and name.startswith(prefix) and not environment.get(name)
    }


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


class SecretFileSource(PydanticBaseSettingsSource):
    """Secrets given as names of files, as Docker and Kubernetes hand them over: NAME_FILE.

    The last of the sources: it goes by what the others have found.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = self.current_state.get(f"{field_name}{SUFFIX}")
        return (
            (secret_text(f"{field_name}{SUFFIX}", Path(name)) if name else None),
            field_name,
            False,
        )

    def __call__(self) -> dict[str, Any]:
        """Raises: ConfigurationError for a file that cannot be read, or a secret given twice."""
        found, problems = {}, []
        for name, field in self.settings_cls.model_fields.items():
            if f"{name}{SUFFIX}" not in self.settings_cls.model_fields:
                continue
            try:
                value, _, _ = self.get_field_value(field, name)
            except ConfigurationError as error:
                problems.append(str(error))
                continue
            if value is not None and self.current_state.get(name):
                given = f"{name.upper()} and {name.upper()}{SUFFIX.upper()}"
                problems.append(f"{given} are both set: keep one of them.")
            elif value is not None:
                found[name] = value
        if problems:
            raise ConfigurationError("\n".join(problems))
        return found


def secret_text(name: str, path: Path) -> str:
    """What a secret's file holds, without the line end that editors add.

    Raises: ConfigurationError.
    """
    example = f"Example: {name.upper()}=/run/secrets/{name.removesuffix(SUFFIX)}"
    try:
        text = path.expanduser().read_text(encoding="utf-8").strip()
    except UnicodeError:
        raise ConfigurationError(
            f"{name.upper()} names a file that is no text. {example}"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:  # no such home; a NUL in the name
        reason = (error.strerror if isinstance(error, OSError) else None) or "no usable path"
        raise ConfigurationError(
            f"{name.upper()} names a file that cannot be read: {reason}. {example}"
        ) from None
    if not text:
        raise ConfigurationError(f"{name.upper()} names a file that is empty. {example}")
    return text
