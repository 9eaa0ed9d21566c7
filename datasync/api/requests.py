"""Reads what a request carries: a bounded body, JSON of a model, a key; waits for an end.

Knows no route.
"""

import json
import time
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from datasync.api.shutdown import Shutdown
from datasync.errors import (
    MalformedRequest,
    PayloadTooLarge,
    UnprocessableRequest,
    UnsupportedMedia,
)

MAX_BODY_BYTES = 2**20
SMALL_BODY_BYTES = 4096  # one event has fewer; more is for a thread, not for the event loop
POLL_SECONDS = 0.08
_JSON_TYPES = frozenset({"", "application/json", "text/plain"})

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class ClientGone(Exception):
    """Nobody is there any more to hear the answer."""


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """The whole body.

    Raises: PayloadTooLarge, before more than `max_bytes` are held; ClientGone.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    except ClientDisconnect:
        raise ClientGone from None
    return bytes(body)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {max_bytes} bytes")


def require_json(request: Request) -> None:
    """Let JSON pass, also under the names that SNS and plain clients give it.

    Raises: UnsupportedMedia.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON_TYPES:
        raise UnsupportedMedia("the body is of a type that is not taken here")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("a compressed body is not taken here")


def body_of(model: type[BaseModel], *, required: bool) -> dict[str, Any]:
    """What OpenAPI says of a body that `read_model` reads."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": required, "content": content}}


async def read_model(request: Request, model: type[M], *, required: bool) -> M:
    """The body's JSON; without a body, where none is required, the model's defaults.

    Raises: UnsupportedMedia, MalformedRequest, UnprocessableRequest, and what `read_body` raises.
    """
    body = await read_body(request)
    if not body and not required:
        return model()
    require_json(request)
    try:
        return model.model_validate(json.loads(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, found["loc"])) or "body"
        raise UnprocessableRequest(f"{where}: {found['msg']}") from None
    except (ValueError, RecursionError):
        raise MalformedRequest("the body is not JSON") from None


def takes_only(*names: str, body: bool = False) -> Callable[[Request], Awaitable[None]]:
    """A dependency that refuses every query parameter but these, and a body where none is read.

    For routes that change things: one letter amiss must not do the real thing.
    """
    taken = f"the query parameters {', '.join(names)}" if names else "no query parameters"
    hint = f"This route takes {taken}{'' if body else ' and no body'}; /docs shows it."

    async def check(request: Request) -> None:
        for name in request.query_params:
            if name not in names:
                raise UnprocessableRequest(_unknown(name, names), hint=hint)
        if not body and await read_body(request):
            raise UnprocessableRequest("the body: this route reads none", hint=hint)

    return check


def _unknown(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name.lower().replace("-", "_"), names, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"query.{name[:50]}: there is no such parameter{meant}"


class KeyConvertor(Convertor[str]):
    """Matches any key in a route's path; the framework's `path` stops at a line feed."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("key", KeyConvertor())


def key_in_path(scope: Scope, route: str) -> str:
    """The key behind `route` in the path as it was sent, decoded exactly once.

    Raises: MalformedRequest.
    """
    raw: bytes = scope.get("raw_path") or b""
    start = (scope.get("root_path", "").rstrip("/") + route).encode("ascii")
    if not raw.startswith(start):
        raise MalformedRequest("the path before the key is not written plainly")
    try:
        return unquote_to_bytes(raw[len(start) :]).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("the key in the path is not UTF-8") from None


def without_range(scope: Scope) -> Scope:
    """The same request, for the whole of what it asks for."""
    kept = [(name, value) for name, value in scope["headers"] if name.lower() != b"range"]
    return {**scope, "headers": kept}


async def in_thread(
    function: Callable[..., T], *arguments: object, limiter: CapacityLimiter | None = None
) -> T:
    """The function's result, from a worker thread."""
    return await anyio.to_thread.run_sync(function, *arguments, limiter=limiter)


async def wait_while(
    pending: Callable[[], Awaitable[bool]],
    request: Request,
    shutdown: Shutdown,
    seconds: float = float("inf"),
) -> None:
    """Ask again and again until nothing is pending, the time is over or the process stops.

    Holds no thread between the questions. Raises: ClientGone.
    """
    deadline = time.monotonic() + seconds
    while await pending():
        left = deadline - time.monotonic()
        if left <= 0 or shutdown.begun:
            return
        await shutdown.pause(min(POLL_SECONDS, left))
        if await request.is_disconnected():
            raise ClientGone
