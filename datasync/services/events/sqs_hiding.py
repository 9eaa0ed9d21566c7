"""Keeps received messages hidden from other consumers for as long as they wait for the journal.

Knows when each message in hand would become visible again and extends it in time. Has no thread
of its own: whoever owns it calls `renew` a few times in each `hidden_seconds`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from datasync.services.events.sqs import Message, Queue

STRETCH = 4  # an extension hides for so many times the first hiding; fewer calls while it lasts
TURNS = 6  # calls of `renew` in each `hidden_seconds`, so that a failed one is tried again in time


class Hiding:
    """The messages in hand. Safe to use from many threads."""

    def __init__(self, queue: Queue, hidden_seconds: int, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._hidden_seconds = hidden_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[Message, float] = {}

    @property
    def turn_seconds(self) -> float:
        """How long to wait between two calls of `renew`."""
        return self._hidden_seconds / TURNS

    @contextmanager
    def hold(self, messages: Sequence[Message]) -> Iterator[None]:
        """Keep these hidden meanwhile; they were received just now."""
        until = self._clock() + self._hidden_seconds
        with self._lock:
            self._until |= dict.fromkeys(messages, until)
        try:
            yield
        finally:
            with self._lock:
                for message in messages:
                    self._until.pop(message, None)

    def renew(self) -> None:
        """Extend what would be visible soon; what is visible by now comes again by itself.

        SQS hides a message for twelve hours in all, then it refuses.

        Raises: QueueError; the next call tries again.
        """
        due = self._due()
        if not due:
            return
        until = self._clock() + STRETCH * self._hidden_seconds
        refused = self._queue.extend(due, STRETCH * self._hidden_seconds)
        with self._lock:
            extended = [message for message in due if message in self._until]
            self._until |= dict.fromkeys(set(extended) - set(refused), until)

    def _due(self) -> list[Message]:
        now = self._clock()
        with self._lock:
            for message in [each for each, until in self._until.items() if until <= now]:
                del self._until[message]
            soon = now + self._hidden_seconds / 2
            return [message for message, until in self._until.items() if until <= soon]
