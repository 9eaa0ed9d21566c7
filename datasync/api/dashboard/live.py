"""Parts of pages that change while they are looked at, sent as server-sent events.

Each stream looks once a second and sends what is not as it was. Few streams are open at once:
each costs a look at the ledger a second.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from fastapi import Request
from starlette.responses import StreamingResponse

from datasync.api.shutdown import Shutdown
from datasync.errors import DataSyncError, TooManyRequests

LOOK_SECONDS = 1.0
QUIET_SECONDS = 15.0  # then a remark is sent, so that nobody on the way gives the stream up
STREAMS_AT_ONCE = 32
LIFE_SECONDS = 600.0  # then the page asks again, and who it is is looked at again

Parts = Callable[[], Awaitable[Mapping[str, str]]]


def event(name: str, text: str) -> bytes:
    """One server-sent event."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n".encode()


class Streams:
    """How many are open. For the event loop's thread."""

    def __init__(self, most: int = STREAMS_AT_ONCE) -> None:
        self._most = most
        self.open = 0

    def enter(self) -> None:
        """Raises: TooManyRequests."""
        if self.open >= self._most:
            raise TooManyRequests("too many pages are open", retry_after_seconds=15)
        self.open += 1

    def leave(self) -> None:
        self.open -= 1


def stream(
    request: Request, shutdown: Shutdown, parts: Parts, streams: Streams
) -> StreamingResponse:
    """What `parts` gives, whenever it changes, until nobody listens or the process stops.

    Raises: TooManyRequests.
    """
    streams.enter()
    return StreamingResponse(
        _events(request, shutdown, parts, streams),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


async def _events(
    request: Request, shutdown: Shutdown, parts: Parts, streams: Streams
) -> AsyncIterator[bytes]:
    try:
        async for told in _changes(request, shutdown, parts):
            yield told
    finally:
        streams.leave()


async def _changes(request: Request, shutdown: Shutdown, parts: Parts) -> AsyncIterator[bytes]:
    shown: dict[str, str] = {}
    quiet = 0.0
    loop = asyncio.get_running_loop()
    end = loop.time() + LIFE_SECONDS
    yield b"retry: 2000\n\n"
    while not shutdown.begun and loop.time() < end and not await request.is_disconnected():
        began = loop.time()
        try:
            found = await parts()
        except DataSyncError:
            found = {}  # the next look may tell more; what is shown stays
        for name, text in found.items():
            if shown.get(name) != text:
                shown[name], quiet = text, 0.0
                yield event(name, text)
        if quiet >= QUIET_SECONDS:
            quiet = 0.0
            yield b": still here\n\n"
        pause = max(0.0, LOOK_SECONDS - (loop.time() - began))
        await shutdown.pause(pause)
        quiet += LOOK_SECONDS
