"""Reads the settings, and says of bad ones what is wrong with each."""

import os
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from datasync.config.problems import describe, near_misses
from datasync.config.settings import SECRETS, Settings
from datasync.config.sources import env_file_values, left_to_libraries
from datasync.errors import ConfigurationError

_PROPAGATORS = "OTEL_PROPAGATORS"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (by attribute name, None: not given) win over everything.

    Raises: ConfigurationError with one line for each bad variable, or for each bad line of
    `.env`; secrets are never shown.
    """
    os.environ.update(left_to_libraries("OTEL_", os.environ))  # where their library reads them
    _check_propagators()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigurationError("\n".join((*_lines(error), *_meant(error)))) from None
    except SettingsError:
        raise ConfigurationError(".env: cannot be read: bad value") from None


def _check_propagators() -> None:
    """The web framework looks at it while it is loaded, also where there are no traces."""
    given = os.environ.get(_PROPAGATORS)
    if not given:
        return
    from importlib.metadata import entry_points  # slow to load

    known = {entry.name for entry in entry_points(group="opentelemetry_propagator")} | {"none"}
    unknown = [name for name in map(str.strip, given.split(",")) if name not in known]
    if unknown:
        raise ConfigurationError(
            f"{_PROPAGATORS} must be of {', '.join(sorted(known))}, not {unknown[0]!r}. "
            f"Example: {_PROPAGATORS}=tracecontext,baggage"
        )


def unknown_variables() -> list[str]:
    """A warning for each variable, of the environment or `.env`, that is nearly one of ours.

    Raises: nothing; a `.env` that cannot be read is `load_settings`' to report.
    """
    names = set(os.environ)
    try:
        names |= set(env_file_values())
    except ConfigurationError:
        return []
    return [
        f"{name} is not a setting of this service and is ignored; did you mean {meant}?"
        for name, meant in near_misses(names, Settings.model_fields)
    ]


def unusable(name: str, problem: str) -> ConfigurationError:
    """The error of a value that turned out not to work here; `problem` follows the value.

    In the form of all bad settings: the variable, the problem, an example.
    """
    field = Settings.model_fields[name]
    (example,) = field.examples or ("",)
    return ConfigurationError(f"{name.upper()} {problem}. Example: {name.upper()}={example}")


def _meant(error: ValidationError) -> list[str]:
    """Which variable was probably meant to be one that is missing."""
    missing = {
        str(problem["loc"][0]).upper() for problem in error.errors() if problem["type"] == "missing"
    }
    return [
        warning for warning in unknown_variables() if warning.split()[-1].rstrip("?") in missing
    ]


def _lines(error: ValidationError) -> Iterable[str]:
    fields = Settings.model_fields
    secret = {*SECRETS, "database_url"}
    seen: set[str] = set()
    for problem in error.errors(include_url=False):
        name = str(problem.get("ctx", {}).get("about", problem["loc"][0]))
        if name in seen:
            continue  # a union reports each of its members
        seen.add(name)
        examples = fields[name].examples or [""]
        yield describe(name, problem, examples[0], hide=name in secret)
