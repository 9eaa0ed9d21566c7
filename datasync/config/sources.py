"""Where raw settings come from: the environment and `.env`. Empty means unset.

LOG_FILE is the exception: empty there is an answer (no file), so it must not fall through to
the default or to a lower source. Knows nothing of what the values mean.
"""

from collections.abc import Mapping

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

EMPTY_IS_A_VALUE = frozenset({"log_file"})


def _given(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """The variables that say something. A prefix may be made of spaces, nothing else may."""
    return {
        name: value
        for name, value in variables.items()
        if value and (value.strip() or name == "s3_prefix") or name in EMPTY_IS_A_VALUE
    }


class VariableSource(EnvSettingsSource):
    """The process environment."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        self.env_ignore_empty = False
        return _given(super()._load_env_vars())


class FileSource(DotEnvSettingsSource):
    """The `.env` file; variables that are not ours stay out."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        self.env_ignore_empty = False
        known = self.settings_cls.model_fields
        found = _given(super()._load_env_vars())
        return {name: value for name, value in found.items() if name in known}
