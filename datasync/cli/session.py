"""Opens what a command needs: settings, logs and the composed parts; closes them after.

The only file of the command line that reads settings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datasync.cli.terminal import remark
from datasync.utils.logger import configure_logging

if TYPE_CHECKING:
    from datasync.composition import Components
    from datasync.config.settings import Settings


@contextmanager
def opened(adopt: bool = False) -> "Iterator[Components]":
    """The composed parts for one command.

    Raises: ConfigurationError, MirrorError, LedgerError.
    """
    # Only here, and so elsewhere in this package: --help and usage errors come without the wait.
    from datasync import composition

    components = composition.compose(prepared(), adopt=adopt)
    try:
        yield components
    finally:
        components.close()


def prepared() -> "Settings":
    """The settings, with the engine's log lines sent to the log file and only warnings to stderr.

    Raises: ConfigurationError.
    """
    from datasync.config.settings import load_settings, unknown_variables

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
