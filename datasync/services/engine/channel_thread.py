"""A thread around a channel: it turns until it is to stop, and a mistake costs it one turn."""

import threading
from collections import deque
from collections.abc import Callable

from datasync.errors import InternalFault
from datasync.services.storage.channel import Channel


class ChannelThread(threading.Thread):
    """Whoever extends it says what a turn is, and what becomes of what a mistake spoils."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        stopping: Callable[[], bool],
        problem: Callable[[Exception], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.channel = channel
        self._is_stopping = stopping
        self._problem = problem
        self._posted: deque[Callable[[], None]] = deque()

    # From any thread

    def post(self, action: Callable[[], None]) -> None:
        """Run something on this thread, soon."""
        self._posted.append(action)
        self.channel.wake()

    def wake(self) -> None:
        self.channel.wake()

    def end(self, timeout_seconds: float) -> None:
        """Wait for the thread, once it is stopping; one never started is only cleared."""
        if self.ident is None:
            self.channel.close()
        else:
            self.join(timeout_seconds)

    # The thread

    def run(self) -> None:
        try:
            while not self._is_stopping():
                try:
                    self._turn()
                except Exception as error:  # the edge of this thread: others must go on
                    self._problem(error)
                    self._fail_all(InternalFault(f"{type(error).__name__} in the transfer"))
        finally:
            self._end()

    def _run_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    def _turn(self) -> None:
        """Do what there is to do, or wait for it a while."""
        raise NotImplementedError

    def _fail_all(self, fault: InternalFault) -> None:
        """Give up what is under way."""
        raise NotImplementedError

    def _end(self) -> None:
        """Give up everything and close the channel."""
        raise NotImplementedError
