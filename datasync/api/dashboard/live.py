"""Parts of pages that change while they are looked at, sent as server-sent events.

Each stream looks once a second and sends what is not as it was. Few streams are open at once:
each costs a look at the ledger a second.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from fastapi import Request
from starlette.responses import StreamingResponse

from datasync.api.dependencies import Places
from datasync.api.shutdown import Shutdown
from datasync.errors import DataSyncError, TooManyRequests

LOOK_SECONDS = 1.0
QUIET_SECONDS = 15.0  # then a beat is sent: the page knows that what it shows is still true
STREAMS_AT_ONCE = 32
LIFE_SECONDS = 600.0  # then the page asks again, and who it is is looked at again

Parts = Callable[[], Awaitable[Mapping[str, str]]]


def event(name: str, text: str) -> bytes:
    """One server-sent event."""
    # Without a line of data a browser would not tell of it: of a part that is empty now.
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()


async def one_of_few(request: Request) -> AsyncIterator[None]:
    """A dependency: a place among the streams, held until the answer is over.

    Raises: TooManyRequests when so many pages are open that one more would be a burden.
    """
    streams: Places = request.app.state.streams
    with streams.place() as free:
        if not free:
            raise TooManyRequests("too many pages are open", retry_after_seconds=15)
        yield


def stream(request: Request, shutdown: Shutdown, parts: Parts) -> StreamingResponse:
    """What `parts` gives, whenever it changes, until nobody listens or the process stops.

    It ends when `parts` cannot tell: the page says so, and asks again.
    """
    return StreamingResponse(
        _changes(request, shutdown, parts),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


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
            return
        for name, text in found.items():
            if shown.get(name) != text:
                shown[name], quiet = text, 0.0
                yield event(name, text)
        if quiet >= QUIET_SECONDS:
            quiet = 0.0
            yield event("beat", "")
        pause = max(0.0, LOOK_SECONDS - (loop.time() - began))
        await shutdown.pause(pause)
        quiet += LOOK_SECONDS
