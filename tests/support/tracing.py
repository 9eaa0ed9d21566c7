"""A tracer that keeps its spans, for tests of who makes them. It passes the port's type check."""

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasync.tracing.port import NOTHING, Attributes, Kind, Moment, Tracer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass
class KeptSpan:
    """`ended` is None until it has ended."""

    name: str
    kind: Kind
    parent: str | None
    traceparent: str
    started: float | None
    wanted: bool
    ended: float | None = None
    over: bool = False
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    moments: list[str] = field(default_factory=list)

    def end(
        self,
        attributes: Attributes = NOTHING,
        *,
        name: str | None = None,
        error: str | None = None,
        at: float | None = None,
        moments: Sequence[Moment] = (),
    ) -> None:
        assert not self.over, "a span ends once"
        self.over, self.ended, self.error = True, at, error
        self.name = name or self.name
        self.attributes |= {key: value for key, value in attributes.items() if value is not None}
        self.moments = [text for text, _ in moments]


class KeptSpans:
    """See the `Tracer` port. `sampled=False` makes spans that nobody wants."""

    on = True

    def __init__(self, sampled: bool = True) -> None:
        self.spans: list[KeptSpan] = []
        self._sampled = sampled
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def named(self, name: str) -> list[KeptSpan]:
        return [span for span in self.spans if span.name == name]

    def caller(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("traceparent")

    def begin(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str | None = None,
        at: float | None = None,
    ) -> KeptSpan:
        with self._lock:
            number = next(self._numbers)
            trace = parent.split("-")[1] if parent else f"{number:032x}"
            context = f"00-{trace}-{number:016x}-{self._sampled:02x}"
            span = KeptSpan(name, kind, parent, context, at, self._sampled)
            span.attributes |= attributes
            self.spans.append(span)
            return span

    def close(self, timeout_seconds: float) -> None:
        pass


_: Tracer = KeptSpans()
