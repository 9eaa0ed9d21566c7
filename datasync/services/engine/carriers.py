"""Threads that carry the ranges of large objects, and nothing else.

A write of theirs may wait for the disk, and no event waits with it; and two of them bring more
than one core can. The object stays its loop's: what is known of it, its retries, its proof, and
the places that its requests take. Only receiving, writing and summing up a range is done here.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from datasync.errors import DataSyncError, InternalFault, Interrupted
from datasync.models.sync_models import ObjectRequest
from datasync.services.engine.channel_thread import ChannelThread
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.channel import Answer, Channel, Receiver

CARRIERS = 2
# Requests that each has under way. It keeps so many connections, and may have no use for them for
# days: those that the server has closed stay open here until then.
MOST_CARRIED = 32
_POLL_SECONDS = 5.0


class RangeOwner(Protocol):
    """Whoever has a range carried."""

    def range_answered(self, carried: "Carried", answer: Answer) -> None:
        """Hear that it is over, also when it was dropped. Called once, on a carrier's thread."""


class Carried:
    """The request for a range, on its way. `token` is the owner's own."""

    __slots__ = ("request", "receiver", "token", "dropped", "_owner", "_carrier")

    def __init__(
        self,
        request: ObjectRequest,
        receiver: Receiver,
        token: object,
        owner: RangeOwner,
        carrier: "_Carrier",
    ) -> None:
        self.request = request
        self.receiver = receiver
        self.token = token
        self.dropped = False
        self._owner = owner
        self._carrier = carrier

    def drop(self) -> None:
        """Give it up; its receiver may still be called for what is on its way already."""
        self.dropped = True
        self._carrier.post(partial(self._carrier.drop, self))

    def answered(self, answer: Answer) -> None:
        self._owner.range_answered(self, answer)


class Carriers:
    """The threads of a pool. Safe from any thread."""

    def __init__(
        self, bucket: Bucket, stopping: Callable[[], bool], problem: Callable[[Exception], None]
    ) -> None:
        """What is under way once `stopping()` says so is dropped, and nobody is told."""
        self._each = [
            _Carrier(f"ranges-{index}", bucket.channel(MOST_CARRIED), stopping, problem)
            for index in range(CARRIERS)
        ]
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Start the threads. Raises: RuntimeError, when none can be had."""
        for carrier in self._each:
            carrier.start()

    def start(
        self, request: ObjectRequest, receiver: Receiver, token: object, owner: RangeOwner
    ) -> Carried:
        """Have a range carried by whoever carries the fewest; `receiver` is called there."""
        with self._lock:
            carrier = min(self._each, key=lambda each: each.load)
            carried = Carried(request, receiver, token, owner, carrier)
            carrier.take(carried)
        return carried

    def wake(self) -> None:
        """Have them see that they are to stop."""
        for carrier in self._each:
            carrier.wake()

    def join(self, timeout_seconds: float) -> None:
        """Wait so long, at most, for the threads, once they are stopping."""
        deadline = time.monotonic() + timeout_seconds
        for carrier in self._each:
            carrier.end(max(0.1, deadline - time.monotonic()))


class _Carrier(ChannelThread):
    """One of the threads."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        stopping: Callable[[], bool],
        problem: Callable[[Exception], None],
    ) -> None:
        super().__init__(name, channel, stopping, problem)
        self._carried: set[Carried] = set()

    @property
    def load(self) -> int:
        """How many it has; seen from any thread."""
        return len(self._carried)

    def take(self, carried: Carried) -> None:
        """Carry it; safe from any thread."""
        self._carried.add(carried)
        self.post(partial(self._begin, carried))

    def drop(self, carried: Carried) -> None:
        """Give one up, unless its answer has come."""
        if carried in self._carried:
            self._fail(carried, Interrupted("dropped"))

    def _turn(self) -> None:
        self._run_posted()
        for answer in self.channel.poll(_POLL_SECONDS):
            assert isinstance(answer.token, Carried)
            self._answered(answer.token, answer)

    def _begin(self, carried: Carried) -> None:
        if carried in self._carried and not carried.dropped:
            self.channel.start(carried.request, carried.receiver, carried)

    def _answered(self, carried: Carried, answer: Answer) -> None:
        carried.answered(answer)
        self._carried.discard(carried)

    def _fail(self, carried: Carried, error: DataSyncError) -> None:
        self.channel.cancel(carried)
        self._answered(carried, Answer(carried.request, carried, error=error))

    def _fail_all(self, fault: InternalFault) -> None:
        for carried in self._carried.copy():
            self._fail(carried, fault)

    def _end(self) -> None:
        self.channel.close()
