"""A collector of traces on loopback: takes OTLP over HTTP as Jaeger, Tempo and others do.

collector.spans()                 # everything that came, as plain values
collector.trace("4bf9...")        # what belongs to one trace, by name
collector.answer = 503            # what it says from now on
"""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PATH = "/v1/traces"


@dataclass(frozen=True)
class Collected:
    """A span as it was received. Times are seconds since the epoch."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    started: float
    ended: float
    error: str | None
    attributes: dict[str, Any]
    events: list[str]
    resource: dict[str, Any]


class Collector:
    """Listens until it is closed; safe to ask from any thread."""

    def __init__(self, port: int = 0) -> None:
        self.answer = 200
        self.requests: list[dict[str, str]] = []  # their headers
        self.raw: list[bytes] = []
        self._spans: list[Collected] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def spans(self, name: str | None = None) -> list[Collected]:
        with self._lock:
            return [span for span in self._spans if name in (None, span.name)]

    def trace(self, trace: str) -> dict[str, list[Collected]]:
        found: dict[str, list[Collected]] = {}
        for span in self.spans():
            if span.trace == trace:
                found.setdefault(span.name, []).append(span)
        return found

    def _take(self, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        told = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.requests.append(headers)
            if self.answer == 200:
                self.raw.append(body)
                self._spans += list(_spans(told))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                known = self.path == PATH
                if known:
                    headers = {name.lower(): text for name, text in self.headers.items()}
                    collector._take(headers, body)
                self.send_response(collector.answer if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _spans(told: ExportTraceServiceRequest) -> Iterator[Collected]:
    for group in told.resource_spans:
        resource = _plain(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _collected(span, resource)


def _collected(span: Wire, resource: dict[str, Any]) -> Collected:
    failed = span.status.code == Status.STATUS_CODE_ERROR
    return Collected(
        span.name,
        Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano / 1e9,
        span.end_time_unix_nano / 1e9,
        span.status.message if failed else None,
        _plain(span.attributes),
        [event.name for event in span.events],
        resource,
    )


def _plain(pairs: "Any") -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        given: AnyValue = pair.value
        return getattr(given, given.WhichOneof("value") or "string_value")

    return {pair.key: value(pair) for pair in pairs}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()
