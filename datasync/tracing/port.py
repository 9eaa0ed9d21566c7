"""Spans as the service and the engine make them, and what stands there while traces are off.

The context of a span travels as a W3C `traceparent`: a plain text, which can lie in a row of the
ledger until another process reads it. Knows no OpenTelemetry, no HTTP and no settings.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool | None]
Moment = tuple[str, float]  # what happened, and when: seconds since the epoch
NOTHING: Attributes = {}


class Kind(Enum):
    """Whose work a span is: our own, that of a request, that of a message."""

    INTERNAL = "internal"
    SERVER = "server"
    CONSUMER = "consumer"


class Span(Protocol):
    """A piece of work under way. It is sent once it has ended, if it is sampled."""

    @property
    def traceparent(self) -> str:
        """What makes another span its child, in any process."""

    @property
    def wanted(self) -> bool:
        """Whether it is sampled: else nobody needs to say anything of it."""

    def end(
        self,
        attributes: Attributes = NOTHING,
        *,
        name: str | None = None,
        error: str | None = None,
        at: float | None = None,
        moments: Sequence[Moment] = (),
    ) -> None:
        """It is over, now or `at` that time. Attributes that are None are left out."""


class Tracer(Protocol):
    """Makes spans. Safe to use from any thread; never waits, never raises once it is made."""

    @property
    def on(self) -> bool:
        """Whether there is anything to do: asked before anything is gathered for a span."""

    def caller(self, headers: Mapping[str, str]) -> str | None:
        """The context that a request brings with it; the names of headers in lower case."""

    def begin(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str | None = None,
        at: float | None = None,
    ) -> Span:
        """A span that begins now, or `at` that time; without a parent, a trace of its own."""

    def close(self, timeout_seconds: float) -> None:
        """Send what waits, at most so long. Spans that end later are dropped."""


class _Nothing:
    """Traces are off: nothing is made, and nothing is loaded."""

    on = False
    traceparent = ""
    wanted = False

    def caller(self, headers: Mapping[str, str]) -> str | None:
        return None

    def begin(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str | None = None,
        at: float | None = None,
    ) -> Span:
        return self

    def end(
        self,
        attributes: Attributes = NOTHING,
        *,
        name: str | None = None,
        error: str | None = None,
        at: float | None = None,
        moments: Sequence[Moment] = (),
    ) -> None:
        pass

    def close(self, timeout_seconds: float) -> None:
        pass


OFF = _Nothing()


def ids_of(traceparent: str | None) -> dict[str, str]:
    """The fields by which a log line is found from its trace, and the other way round."""
    parts = (traceparent or "").split("-")
    return {"trace_id": parts[1], "span_id": parts[2]} if len(parts) == 4 else {}
