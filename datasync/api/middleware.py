"""What every request goes through: an id, one log line, safe headers, a last resort for errors.

Plain ASGI, so that streaming and disconnects pass through untouched. Knows no route.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datasync.api.error_responses import unexpected_answer
from datasync.api.security import SAFE_METHODS, caller_of, route_path
from datasync.api.senders import PATH as NOTIFICATIONS
from datasync.api.shutdown import Shutdown
from datasync.utils.logger import bind_request, get_logger

REQUEST_ID = "X-Request-ID"
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_RAW_SAFE_HEADERS = [(name.lower().encode(), text.encode()) for name, text in SAFE_HEADERS.items()]
_RAW_REQUEST_ID = REQUEST_ID.lower().encode()
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_MAX_LOGGED_PATH = 2048


class RequestMiddleware:
    """The outermost layer of ours: id, log line, headers; nothing raised gets past it."""

    def __init__(self, app: ASGIApp, shutdown: Callable[[], Shutdown]) -> None:
        self._app = app
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with bind_request(request_id=_request_id(scope)):
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, _request_id(scope))
        started = time.perf_counter()
        shutdown = self._shutdown()
        try:
            with shutdown.following():
                await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not shutdown.begun:
                raise
        except Exception:
            # With half an answer out, returning makes the server cut the connection.
            get_logger(__name__).exception("unexpected error")
            if answer.status is None:
                await unexpected_answer()(scope, receive, answer.send)
        finally:
            _log(scope, answer.status, time.perf_counter() - started)


class _Answer:
    """Passes an answer on, with its headers completed and its status remembered."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", ()))  # their names are in lower case, says ASGI
            names = {name for name, _ in given}
            given.append((_RAW_REQUEST_ID, self._request_id.encode()))
            message["headers"] = given + [
                safe for safe in _RAW_SAFE_HEADERS if safe[0] not in names
            ]
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The caller's id if it is a plain word, else one of ours; the same on every call."""
    state = scope.setdefault("datasync", {})
    if "request_id" not in state:
        offered = Headers(scope=scope).get(REQUEST_ID, "")
        state["request_id"] = (
            offered if _SANE_ID.fullmatch(offered) else f"{random.getrandbits(64):016x}"
        )
    return str(state["request_id"])


def _log(scope: Scope, status: int | None, seconds: float) -> None:
    """One line for the request, and one more for the audit if it was to change something.

    Events change nothing by themselves, and come by the thousand: they have the first only.
    """
    client, caller = scope.get("client"), caller_of(scope)
    said = {
        "method": scope["method"],
        "path": scope["path"][:_MAX_LOGGED_PATH],
        "status": status,
        "client": client[0] if client else None,
        "caller": caller.name if caller else None,
    }
    duration_ms = round(seconds * 1000, 1)
    get_logger("datasync.access").info("request", **said, duration_ms=duration_ms)
    if scope["method"] not in SAFE_METHODS and route_path(scope) != NOTIFICATIONS:
        query = scope.get("query_string", b"").decode("latin-1")[:_MAX_LOGGED_PATH]
        role = caller.role.value if caller else None
        get_logger("datasync.audit").info("change", **said, role=role, query=query)


class HeadMiddleware:
    """Answers HEAD as GET would be answered, without the body (RFC 9110, section 9.3.2).

    Paths that begin with one of `apart` have routes of their own for it.
    """

    def __init__(self, app: ASGIApp, apart: tuple[str, ...]) -> None:
        self._app = app
        self._apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or self._is_apart(scope):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, without_body)

    def _is_apart(self, scope: Scope) -> bool:
        return route_path(scope).startswith(self._apart)


class LateCors:
    """CORS for origins that are known only once the settings are read. Closed without any."""

    def __init__(self, app: ASGIApp, origins: Callable[[], Sequence[str]]) -> None:
        self._app = app
        self._origins = origins
        self._built: tuple[tuple[str, ...], ASGIApp] = ((), app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._for(tuple(self._origins()))(scope, receive, send)

    def _for(self, origins: tuple[str, ...]) -> ASGIApp:
        if self._built[0] != origins:
            self._built = (origins, self._opened(origins))
        return self._built[1]

    def _opened(self, origins: tuple[str, ...]) -> ASGIApp:
        return CORSMiddleware(
            self._app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "If-Match",
                "If-Modified-Since",
                "If-None-Match",
                "If-Range",
                "If-Unmodified-Since",
                "Range",
                "X-API-Key",
                REQUEST_ID,
            ],
            expose_headers=[
                "Accept-Ranges",
                "Content-Disposition",
                "Content-Range",
                "ETag",
                "Retry-After",
                REQUEST_ID,
            ],
        )
