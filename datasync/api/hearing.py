"""Carries answers of other threads into the event loop, many with one wake-up.

Knows neither what was asked nor who answers.
"""

import asyncio
from collections import deque
from collections.abc import Callable

Told = Callable[[Exception | None], None]


class Hearing:
    """Belongs to one event loop; its answers may come from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answers: deque[tuple[asyncio.Future[None], Exception | None]] = deque()
        self._woken = False

    async def of(self, ask: Callable[[Told], None]) -> None:
        """Ask, and wait until what was passed to `ask` is told None; raises what it is told."""
        heard = self._loop.create_future()
        ask(lambda error: self._tell(heard, error))
        await heard

    def _tell(self, heard: "asyncio.Future[None]", error: Exception | None) -> None:
        self._answers.append((heard, error))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # first: an answer that comes from now on wakes the loop again
        while self._answers:
            heard, error = self._answers.popleft()
            if heard.done():  # who asked has gone
                continue
            if error is None:
                heard.set_result(None)
            else:
                heard.set_exception(error)
