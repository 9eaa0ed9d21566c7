"""Opens what a command needs: settings, logs and the composed parts, or a way to a service
elsewhere; closes them after.

The only file of the command line that reads settings.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from datasync.cli import garbage
from datasync.cli.terminal import remark

if TYPE_CHECKING:
    from datasync.cli.asked import Asked
    from datasync.cli.here import Here
    from datasync.composition import Components
    from datasync.config.settings import Settings

_url = ""


def point_at(url: str) -> None:
    """The service that the command of this process asks; "": the parts of this machine."""
    global _url
    _url = url


def is_elsewhere() -> bool:
    """Whether a service is asked."""
    return bool(_url)


def asked(adopt: bool = False, traced: bool = False) -> "AbstractContextManager[Asked]":
    """Whom one command asks. What is entered raises: DataSyncError."""
    return _elsewhere() if is_elsewhere() else here(adopt, traced)


@contextmanager
def _elsewhere() -> "Iterator[Asked]":
    from datasync.cli.elsewhere import connected

    garbage.resume()
    with connected(_url) as service:
        yield service


@contextmanager
def here(adopt: bool = False, traced: bool = False) -> "Iterator[Here]":
    """The parts of this machine, as commands ask them. Raises: as `opened`."""
    with opened(adopt, traced) as parts:
        from datasync.cli.here import Here

        yield Here(parts)


@contextmanager
def opened(adopt: bool = False, traced: bool = False) -> "Iterator[Components]":
    """The composed parts for one command; `traced` if it may run the engine.

    Raises: ConfigurationError, MirrorError, LedgerError.
    """
    # Only here, and so elsewhere in this package: --help and usage errors come without the wait.
    from datasync import composition

    components = composition.compose(prepared(), adopt=adopt, traced=traced)
    garbage.resume()
    try:
        yield components
    finally:
        components.close()


def prepared() -> "Settings":
    """The settings, with the engine's log lines sent to the log file.

    The command itself says on the terminal how its work ended; without a log file, warnings go
    there as well.

    Raises: ConfigurationError.
    """
    from datasync.composition import start_logging
    from datasync.config.loading import load_settings, unknown_variables

    settings = load_settings()
    for warning in unknown_variables():
        remark(f"warning: {warning}")
    start_logging(settings, stderr_level="CRITICAL" if settings.log_file else "WARNING")
    return settings


def read() -> "Settings":
    """The settings alone, for a command that makes and opens nothing; no log is written.

    Raises: ConfigurationError.
    """
    from datasync.config.loading import load_settings
    from datasync.utils.logger import configure_logging

    settings = load_settings()
    configure_logging(
        settings.log_level,
        None,
        settings.log_format,
        secrets=settings.secret_values(),
        stderr_level="CRITICAL",
    )
    garbage.resume()
    return settings
