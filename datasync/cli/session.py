"""Opens what a command needs: settings, logs and the composed parts; closes them after.

The only file of the command line that reads settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from datasync.app import Components, compose
from datasync.cli.terminal import remark
from datasync.config.settings import Settings, load_settings, unknown_variables
from datasync.errors import MalformedRequest
from datasync.utils.logger import configure_logging


@contextmanager
def opened(adopt: bool = False) -> Iterator[Components]:
    """The composed parts for one command.

    Raises: ConfigurationError, MirrorError, LedgerError.
    """
    components = compose(prepared(), adopt=adopt)
    try:
        yield components
    finally:
        components.close()


def prepared() -> Settings:
    """The settings, with the engine's log lines sent to the log file and only warnings to stderr.

    Raises: ConfigurationError.
    """
    settings = load_settings()
    for warning in unknown_variables():
        remark(f"warning: {warning}")
    configure_logging(
        settings.log_level,
        settings.log_file,
        settings.log_format,
        secrets=settings.secret_values(),
        stderr_level="WARNING",
    )
    return settings


def scope_of(parts: Components, prefix: str) -> str:
    """The prefix to work on: what was asked for, or all that is mirrored.

    Raises: MalformedRequest when it is outside S3_PREFIX.
    """
    scope = parts.settings.sync_options().prefix
    if prefix and not prefix.startswith(scope):
        raise MalformedRequest(
            f"--prefix is outside S3_PREFIX ({scope})",
            hint="Leave --prefix out to mean everything.",
        )
    return prefix or scope
