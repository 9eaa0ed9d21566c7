"""Lets open requests know that the process is about to stop, and bounds how long they may go on.

A server tells an application to shut down only after its last request has ended. So the signal
itself is listened to, in addition to the server: waits end at once, streams within seconds.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE_SECONDS = 4.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """Whether the process is stopping, and the requests that are open.

    Everything is called on `loop`, that of the application, known once it is `listening`.
    """

    def __init__(
        self,
        on_begin: Callable[[], None] = lambda: None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._on_begin = on_begin
        self._grace_seconds = grace_seconds
        self.loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def begun(self) -> bool:
        """Whether the process was told to stop."""
        return self._stopping.is_set()

    def begin(self) -> None:
        """The process is about to stop: end waits now, everything else after the grace time."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._on_begin()
            if self.loop is not None:
                self.loop.call_later(self._grace_seconds, self._end_all)

    async def pause(self, seconds: float) -> None:
        """Sleep, but not longer than the process lives."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            pass

    @contextmanager
    def following(self) -> Iterator[None]:
        """Keep the current task as one that must end before the process does."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def _end_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the process's stop signals beside whoever handles them, while inside."""
        self.loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in _SIGNALS}
        ours = {number: self._beside(previous[number]) for number in _SIGNALS}
        for number in _SIGNALS:
            if callable(previous[number]):
                signal.signal(number, ours[number])
        try:
            yield
        finally:
            for number in _SIGNALS:
                if signal.getsignal(number) is ours[number]:
                    signal.signal(number, previous[number])

    def _beside(self, previous: Any) -> Callable[[int, FrameType | None], None]:
        def heard(number: int, frame: FrameType | None) -> None:
            if self.loop is not None and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self.begin)
            previous(number, frame)

        return heard
