"""The two clients of Python, called alike: the async one through a portal to its event loop."""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tenacity import wait_none

from datasync.client import AsyncClient, AsyncFileStream, Client, address, exchange

Connect = Callable[..., Any]
VARIABLES = (address.URL, address.KEY, address.KEY_FILE)


class InPortal:
    """An `AsyncClient` with the methods of a `Client`."""

    def __init__(self, portal: BlockingPortal, client: AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return partial(self._call, method) if callable(method) else method

    def _call(self, method: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        made = method(*arguments, **more)
        if inspect.isasyncgen(made):
            return self._portal.call(_all, made)
        return self._portal.call(_awaited, made)

    @contextmanager
    def stream(self, key: str) -> Iterator["_Chunks"]:
        with self._portal.wrap_async_context_manager(self._client.stream(key)) as stream:
            yield _Chunks(self._portal, stream)


class _Chunks:
    def __init__(self, portal: BlockingPortal, stream: AsyncFileStream) -> None:
        self._portal = portal
        self._stream = stream
        self.head = stream.head

    def __iter__(self) -> Iterator[bytes]:
        chunks = aiter(self._stream)
        while (chunk := self._portal.call(_next, chunks)) is not None:
            yield chunk


async def _awaited(made: Coroutine[Any, Any, Any]) -> Any:
    return await made


async def _all(made: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in made]


async def _next(made: AsyncIterator[bytes]) -> bytes | None:
    return await anext(made, None)


@pytest.fixture(params=["blocking", "asynchronous"])
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes clients of one kind, that lose no time between tries; closes them after the test."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(exchange, "_backoff", wait_none())
    with ExitStack() as closing:
        if request.param == "blocking":
            yield lambda *given, **more: closing.enter_context(Client(*given, **more))
        else:
            yield partial(_in_portal, closing, closing.enter_context(start_blocking_portal()))


def _in_portal(closing: ExitStack, portal: BlockingPortal, *given: Any, **more: Any) -> InPortal:
    client = portal.call(partial(AsyncClient, *given, **more))
    closing.callback(portal.call, client.aclose)
    return InPortal(portal, client)
