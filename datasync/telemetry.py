"""Opens the tracer that the settings ask for, and tells the log when traces cannot be sent.

OpenTelemetry is loaded here, or, with traces off, not at all.
"""

import os

from datasync import __version__
from datasync.config.settings import Settings
from datasync.errors import ConfigurationError
from datasync.tracing.port import OFF, Tracer
from datasync.utils.logger import get_logger, mask_also, masked, names_a_secret

CLOSE_SECONDS = 2.0
_VARIABLES = "OTEL_"


def tracer_of(settings: Settings) -> Tracer:
    """The tracer of this process; made after a fork, never before. Raises: ConfigurationError."""
    tracer, warnings = _opened(settings)
    for warning in warnings:
        get_logger(__name__).warning(f"{warning}; the default is used")
    return tracer


def check_tracer(settings: Settings) -> list[str]:
    """What of the OTEL_* variables will not be used. Raises: ConfigurationError."""
    tracer, warnings = _opened(settings)
    tracer.close(CLOSE_SECONDS)
    return warnings


def _opened(settings: Settings) -> tuple[Tracer, list[str]]:
    exporter = settings.traces
    if exporter is None:
        return OFF, []
    try:
        from datasync.tracing.otel import Plan, opened, secrets_of
    except ValueError as error:  # some it reads while it is loaded; of one it gives no name
        text = str(error)
        raise ConfigurationError(
            text if text.startswith(_VARIABLES) else f"OTEL_PROPAGATORS: {text}"
        ) from None
    mask_also(secrets_of(os.environ, names_a_secret))
    plan = Plan(exporter, settings.traces_endpoint, __version__, masked)
    return opened(plan, lambda reason: _tell(settings.traces_endpoint, reason))


def _tell(endpoint: str, reason: str | None) -> None:
    log = get_logger(__name__)
    if reason is None:
        log.info("traces are sent again", endpoint=endpoint)
    else:
        text = "traces cannot be sent, and are dropped until they can; everything else goes on"
        log.warning(text, endpoint=endpoint, reason=reason)
