"""`FakeQueue`: the `Queue` port fully in memory, on a clock that tests turn. No mocks, no network.

    clock = TurnedClock()
    queue = FakeQueue(clock)
    queue.send("body")
    queue.fail("delete", QueueUnreachable("no answer"))   # until queue.heal("delete")
    with queue.holding("receive"): ...                     # such calls hang meanwhile

It passes the same contract suite as the real adapter.
"""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from datasync.errors import DataSyncError, Interrupted, QueueMissing
from datasync.services.events.sqs import MAX_BATCH, Message

NAP_SECONDS = 0.002
SETTLE_SECONDS = 0.2  # for who ends or does something else after a wait


class TurnedClock:
    """A clock that stands still until it is turned. Seconds. `waits` keeps what was waited for."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._until: dict[object, float] = {}
        self._changed = threading.Condition()
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """`Event.wait` by this clock."""
        me = object()
        with self._changed:
            self.waits.append(seconds)
            self._until[me] = until = self._now + seconds
            self._changed.notify_all()
            while not event.is_set() and self._now < until:
                self._changed.wait(NAP_SECONDS)
            del self._until[me]
        return event.is_set()

    def turn(self, seconds: float) -> None:
        """Let so much time pass: from one end of a wait to the next.

        Whoever wakes gets the time to do its work and wait again before the clock goes on.
        """
        end = self._now + seconds
        with self._changed:
            while self._now < end:
                self._step(end)

    def turn_until(self, condition: Callable[[], object], most_seconds: float = 300.0) -> None:
        """Let time pass until it is so; fail when it is not so in that time."""
        end = self._now + most_seconds
        while not condition():
            assert self._now < end, "the condition did not come true in time"
            self.turn(0.5)
            time.sleep(NAP_SECONDS)

    def _step(self, end: float) -> None:
        waiting = len(self._until)
        self._now = min([end, *self._until.values()])
        self._changed.notify_all()
        if any(until <= self._now for until in self._until.values()):
            self._changed.wait_for(lambda: self._settled(waiting), SETTLE_SECONDS)

    def _settled(self, waiting: int) -> bool:
        ends = self._until.values()
        return len(ends) >= waiting and all(until > self._now for until in ends)


@dataclass(eq=False)
class Stored:
    """A message in the queue; visible at `visible_at` by the queue's clock."""

    id: str
    body: str
    visible_at: float
    receipts: int = 0
    receipt: str = ""


class FakeQueue:
    """A queue in memory. Thread-safe as the port demands; tests may read its fields.

    `most_receipts` is what its redrive policy allows before a message goes to `dead`. `counts`
    counts calls by name, `receipts` how often each body was received, `deleted` keeps the bodies
    in the order they were deleted.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most_receipts: int | None = None
    ) -> None:
        self.exists = True
        self.hasty = False  # answers polls at once, with nothing if there is nothing
        self.stored: list[Stored] = []
        self.dead: list[str] = []
        self.deleted: list[str] = []
        self.counts: Counter[str] = Counter()
        self.receipts: Counter[str] = Counter()
        self.polling = 0
        self._clock = clock
        self._most_receipts = most_receipts
        self._problems: dict[str, Exception] = {}
        self._held: dict[str, threading.Event] = {}
        self._numbers = itertools.count(1)
        self._closed = False
        self._lock = threading.RLock()

    # What tests do to the queue

    def send(self, *bodies: str) -> None:
        with self._lock:
            now = self._clock()
            for body in bodies:
                self.stored.append(Stored(f"m{next(self._numbers)}", body, now))

    def fail(self, call: str, problem: Exception) -> None:
        """Calls of this name raise this from now on, until `heal`."""
        self._problems[call] = problem

    def heal(self, call: str) -> None:
        self._problems.pop(call, None)

    @contextmanager
    def holding(self, call: str) -> Iterator[None]:
        """Calls of this name that begin meanwhile hang until the end of the block."""
        self._held[call] = threading.Event()
        try:
            yield
        finally:
            self._held.pop(call).set()

    def visible(self) -> list[str]:
        """The bodies that a consumer could receive now."""
        with self._lock:
            return [one.body for one in self.stored if one.visible_at <= self._clock()]

    # The port

    def receive(self, count: int, wait_seconds: int, hidden_seconds: int) -> list[Message]:
        assert 1 <= count <= MAX_BATCH and 0 <= wait_seconds <= 20
        until = self._clock() + wait_seconds
        with self._polling():
            self._begin("receive")
            while not (found := self._hand_out(count, hidden_seconds)) and self._clock() < until:
                if self.hasty:
                    break
                time.sleep(NAP_SECONDS)
                self._refuse("receive")
        return found

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        self._begin("delete")
        with self._lock:
            return [message for message in messages if not self._remove(message)]

    def extend(self, messages: Sequence[Message], seconds: int) -> list[Message]:
        assert 0 <= seconds <= 12 * 3600
        self._begin("extend")
        refused = []
        with self._lock:
            for message in messages:
                one = self._in_flight(message)
                if one is None:
                    refused.append(message)
                else:
                    one.visible_at = self._clock() + seconds
        return refused

    def close(self) -> None:
        self._closed = True

    # How it does it

    @contextmanager
    def _polling(self) -> Iterator[None]:
        with self._lock:
            self.polling += 1
        try:
            yield
        finally:
            with self._lock:
                self.polling -= 1

    def _begin(self, call: str) -> None:
        with self._lock:
            self.counts[call] += 1
        held = self._held.get(call)
        if held is not None:
            held.wait()
        self._refuse(call)

    def _refuse(self, call: str) -> None:
        if self._closed:
            raise Interrupted("the queue is closed")
        if not self.exists:
            raise QueueMissing("there is no such queue")
        if call in self._problems:
            problem = self._problems[call]
            raise type(problem)(*problem.args, **_hint(problem))

    def _hand_out(self, count: int, hidden_seconds: int) -> list[Message]:
        with self._lock:
            self._redrive()
            now = self._clock()
            found = [one for one in self.stored if one.visible_at <= now][:count]
            for one in found:
                one.receipts += 1
                one.receipt = f"r{next(self._numbers)}"
                one.visible_at = now + hidden_seconds
                self.receipts[one.body] += 1
            return [Message(one.id, one.receipt, one.body) for one in found]

    def _redrive(self) -> None:
        if self._most_receipts is None:
            return
        now, most = self._clock(), self._most_receipts
        worn = [one for one in self.stored if one.receipts >= most and one.visible_at <= now]
        self.dead += [one.body for one in worn]
        self.stored = [one for one in self.stored if one not in worn]

    def _in_flight(self, message: Message) -> Stored | None:
        now = self._clock()
        for one in self.stored:
            if one.receipt == message.receipt and one.visible_at > now:
                return one
        return None

    def _remove(self, message: Message) -> bool:
        for one in self.stored:
            if one.receipt == message.receipt:
                self.stored.remove(one)
                self.deleted.append(one.body)
                return True
        return False


def _hint(problem: Exception) -> dict[str, str]:
    return {"hint": problem.hint} if isinstance(problem, DataSyncError) else {}
