"""The adapter: spans by the SDK of OpenTelemetry, sent in batches on a thread of its own.

The only file that imports OpenTelemetry, and loaded only where traces are asked for. Which
exporter, and where to, its caller says; everything else the SDK reads from the OTEL_* variables.
Must be opened after a fork: the sending thread does not survive one.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from datasync.errors import ConfigurationError
from datasync.tracing.port import NOTHING, Attributes, Kind, Moment, Span

NAME = "datasync"
PROTOCOL = "http/protobuf"
LONGEST_TEXT = 4096
TOKEN_LENGTH = 16
AWAY_SECONDS = 0.5  # that the end waits for a collector that did not answer the last time
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CONSUMER: SpanKind.CONSUMER,
}
_PARSER = TraceContextTextMapPropagator()
_LIBRARY = logging.getLogger("opentelemetry")
_SENDING = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
_SILENCE = logging.NullHandler()

Values = dict[str, str | int | float | bool]
# Hears that sending fails, and why; None once it works again.
Told = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """`exporter` is otlp or console; `endpoint` is the whole URL.

    `version` is the program's; `mask` takes secrets out of texts that leave the process.
    """

    exporter: str
    endpoint: str
    version: str
    mask: Callable[[str], str]


def secrets_of(variables: Mapping[str, str], named: Callable[[str], bool]) -> list[str]:
    """What of the headers for the collector is a token: by its name, `named`, or by its length.

    A tenant or a dataset is a header, too, and a word that stands elsewhere.
    """
    given = [variables[name] for name in HEADERS if variables.get(name)]
    pairs = [pair.partition("=") for text in given for pair in text.split(",")]
    values = [(name, value.strip()) for name, _, value in pairs]
    tokens = [value for name, value in values if named(name) or len(value) >= TOKEN_LENGTH]
    return [form for text in (*given, *tokens) for form in (text, unquote(text))]


def opened(plan: Plan, told: Told) -> "tuple[OtelTracer, list[str]]":
    """A tracer, and what the SDK has against variables that it then does without.

    Raises: ConfigurationError for a variable that it cannot do without.
    """
    _require_protocol(plan)
    with _warnings() as warnings:
        try:
            tracer = OtelTracer(plan, told)
        except ValueError as error:
            raise ConfigurationError(_named(plan.mask(str(error)))) from None
    return tracer, [_named(plan.mask(text)) for text in warnings]


def _require_protocol(plan: Plan) -> None:
    name = next((name for name in _PROTOCOLS if os.environ.get(name)), None)
    if plan.exporter != "otlp" or name is None or os.environ[name] == PROTOCOL:
        return
    raise ConfigurationError(
        f"{name} must be {PROTOCOL}, not {os.environ[name]!r}: the port is 4318, as a rule. "
        f"Example: {name}={PROTOCOL}"
    )


def _named(text: str) -> str:
    """A message of the SDK on one line that begins with its variables; it may not name them."""
    given = {name: os.environ[name] for name in sorted(os.environ) if name.startswith("OTEL_")}
    said = frozenset(re.split(r"[^\w-]+", text))
    found = [n for n, value in given.items() if n in text or value in said]
    found = found or [name for name in given if name.startswith("OTEL_BSP_")]
    text = " ".join(text.split())
    return text if text.startswith("OTEL_") else f"{', '.join(found) or 'OTEL_*'}: {text}"


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the SDK says of its variables, as one line each instead of log lines and tracebacks.

    It is heard whatever level is logged.
    """
    said: list[str] = []
    handler = _Ear(said.append)
    before = _LIBRARY.propagate, _LIBRARY.level
    _LIBRARY.addHandler(handler)
    _LIBRARY.propagate = False
    _LIBRARY.setLevel(logging.WARNING)
    try:
        yield said
    finally:
        _LIBRARY.removeHandler(handler)
        _LIBRARY.propagate = before[0]
        _LIBRARY.setLevel(before[1])


class _Ear(logging.Handler):
    """Hands the messages of a logger to somebody."""

    def __init__(self, hear: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record.getMessage())


class OtelTracer:
    """See the `Tracer` port."""

    on = True

    def __init__(self, plan: Plan, told: Told) -> None:
        """Raises: ValueError for variables that the SDK refuses."""
        exporter = _exporter(plan)
        provider = TracerProvider(resource=_resource(plan.version), shutdown_on_exit=False)
        self._exporter = _Exporter(exporter, told)
        try:
            provider.add_span_processor(BatchSpanProcessor(self._exporter))
        except ValueError:
            self._exporter.shutdown()
            raise
        self._provider = provider
        self._tracer = provider.get_tracer(NAME, plan.version)
        self._mask = plan.mask

    def caller(self, headers: Mapping[str, str]) -> str | None:
        found = trace.get_current_span(propagate.extract(headers, Context())).get_span_context()
        return _text(found) if found.is_valid else None

    def begin(
        self,
        name: str,
        attributes: Attributes = NOTHING,
        *,
        kind: Kind = Kind.INTERNAL,
        parent: str | None = None,
        at: float | None = None,
    ) -> Span:
        span = self._tracer.start_span(
            name, _context(parent), _KINDS[kind], self._clean(attributes), start_time=_ns(at)
        )
        return _OtelSpan(span, self._clean)

    def _clean(self, attributes: Attributes) -> Values:
        """As they may leave the process: no secret, nothing that cannot be sent."""
        mask = self._mask
        return {
            name: _sound(mask(value)) if isinstance(value, str) else value
            for name, value in attributes.items()
            if value is not None
        }

    def close(self, timeout_seconds: float) -> None:
        """The SDK itself would wait for half a minute, also for a collector that is away."""
        if self._exporter.failing:
            timeout_seconds = min(timeout_seconds, AWAY_SECONDS)
        thread = threading.Thread(target=self._provider.shutdown, name="traces-end", daemon=True)
        thread.start()
        thread.join(timeout_seconds)
        self._exporter.shutdown()


class _OtelSpan:
    """See the `Span` port."""

    __slots__ = ("_span", "_clean")

    def __init__(self, span: trace.Span, clean: Callable[[Attributes], Values]) -> None:
        self._span = span
        self._clean = clean

    @property
    def traceparent(self) -> str:
        return _text(self._span.get_span_context())

    @property
    def wanted(self) -> bool:
        return self._span.is_recording()

    def end(
        self,
        attributes: Attributes = NOTHING,
        *,
        name: str | None = None,
        error: str | None = None,
        at: float | None = None,
        moments: Sequence[Moment] = (),
    ) -> None:
        span = self._span
        if span.is_recording():
            span.set_attributes(self._clean(attributes))
            if name is not None:
                span.update_name(name)
            for text, when in moments:
                span.add_event(text, timestamp=_ns(when))
            if error is not None:
                text = str(self._clean({"error": error})["error"])
                span.set_status(Status(StatusCode.ERROR, text))
        span.end(_ns(at))


class _Exporter(SpanExporter):
    """Sends by the SDK's exporter; tells once that it fails, and once that it works again."""

    def __init__(self, inner: SpanExporter, told: Told) -> None:
        self._inner = inner
        self._told = told
        self.failing = False
        self._over = False
        self._reason = ""
        self._ear = _Ear(self._hear)
        # Each failed try would be a line or two of its own.
        _SENDING.propagate = False
        _SENDING.handlers = [_SILENCE, self._ear]

    def _hear(self, text: str) -> None:
        # A try that is made again tells the reason; giving up does not.
        if not self._reason or "due to timeout" not in text:
            self._reason = text

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._reason = ""
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed != self.failing:
            self.failing = failed
            self._told((self._reason or "no reason is known") if failed else None)
        return result

    def shutdown(self) -> None:
        if not self._over:
            self._over = True
            self._inner.shutdown()
            _SENDING.removeHandler(self._ear)  # what still waits to be sent has nobody to tell


def _exporter(plan: Plan) -> SpanExporter:
    if plan.exporter == "console":
        return ConsoleSpanExporter(out=sys.stderr)  # stdout is for what a command was asked for
    return OTLPSpanExporter(endpoint=plan.endpoint)


def _resource(version: str) -> Resource:
    """As the variables say; ours is what they leave open."""
    given = Resource.create()
    ours: dict[str, str | int] = {"service.version": version, "process.pid": os.getpid()}
    if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
        return given.merge(Resource({**ours, "service.name": NAME}))
    return Resource(ours).merge(given)


def _text(context: SpanContext) -> str:
    """https://www.w3.org/TR/trace-context/#traceparent-header"""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context(parent: str | None) -> Context:
    """Of what is no context, an empty one: nothing must stop for that."""
    return _PARSER.extract({"traceparent": parent or ""}, Context())


def _sound(text: str) -> str:
    """One text that is not UTF-8 would keep all spans of its batch from being sent."""
    return text[:LONGEST_TEXT].encode(errors="backslashreplace").decode()


def _ns(at: float | None) -> int | None:
    return None if at is None else int(at * 1e9)
