"""A span for each request, and its ids in the log lines of the request. Plain ASGI.

Names are those of OpenTelemetry's conventions for HTTP servers. Of a request nothing is told that
may hold a secret: no header but the name of the program, no query, no body.
"""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datasync.api.security import route_path
from datasync.tracing.port import Attributes, Kind, Span, Tracer, ids_of
from datasync.utils.logger import bind_request

# Asked every few seconds for ever, by programs: a trace only when they ask for one.
ASKED_ALWAYS = frozenset({"/ping", "/health/live", "/health/ready", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STATE = "datasync.traceparent"


def traceparent_of(scope: Scope) -> str | None:
    """The context of a request's span; None where it has none."""
    found: str | None = scope.get(_STATE)
    return found


class TraceMiddleware:
    """Outside of everything, so that the span is as long as the request."""

    def __init__(self, app: ASGIApp, tracer: Callable[[], Tracer]) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracer = self._tracer()
        if not tracer.on or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        parent = tracer.caller(headers)
        if parent is None and route_path(scope) in ASKED_ALWAYS:
            await self._app(scope, receive, send)
            return
        span = tracer.begin(_method(scope), _asked(scope, headers), kind=Kind.SERVER, parent=parent)
        await self._within(span, scope, receive, send)

    async def _within(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        traceparent = scope[_STATE] = span.traceparent
        try:
            with bind_request(**ids_of(traceparent)):
                await self._app(scope, receive, noting)
        finally:
            _end(span, scope, status)


def _method(scope: Scope) -> str:
    """As the conventions have it: names that senders make up are all one."""
    return scope["method"] if scope["method"] in _METHODS else "_OTHER"


def _asked(scope: Scope, headers: Headers) -> Attributes:
    client, (host, port) = scope.get("client"), scope.get("server") or (None, None)
    return {
        "http.request.method": _method(scope),
        "url.scheme": scope.get("scheme", "http"),
        "url.path": scope["path"],
        "network.protocol.version": scope.get("http_version"),
        "server.address": host,
        "server.port": port,
        "client.address": client[0] if client else None,
        "user_agent.original": headers.get("user-agent"),
    }


def _end(span: Span, scope: Scope, status: int | None) -> None:
    route = getattr(scope.get("route"), "path", None)
    error = "no answer was sent" if status is None else f"answered {status}"
    failed = status is None or status >= 500
    told: Attributes = {
        "http.route": route,
        "http.response.status_code": status,
        "error.type": str(status or "cut off") if failed else None,
    }
    name = f"{_method(scope)} {route}" if route else None
    span.end(told, name=name, error=error if failed else None)
