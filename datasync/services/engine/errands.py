"""Threads for what would keep a loop waiting: hashing files, asking S3 about an object's parts.

They are daemons and nobody waits long for them: a question that S3 does not answer must not keep
the service from stopping.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Work = Callable[[], None]
Then = Callable[[Exception | None], None]


IN_A_ROW = 8  # urgent errands, while others wait


class ErrandThreads:
    """Runs errands, urgent ones first; `then` hears on the same thread how each one ended.

    A thread begins when an errand finds none idle, and stays. A stream of urgent errands leaves
    one turn in some to the others.
    """

    def __init__(self, name: str, most: int, reserved: int = 0) -> None:
        """`most` threads; all but `reserved` of them do errands that are not urgent, too."""
        self._name = name
        self._most = most
        self._shared = most - reserved
        self._stopping = False
        self._urgent: deque[tuple[Work, Then]] = deque()
        self._others: deque[tuple[Work, Then]] = deque()
        self._others_begun = 0
        self._busy = 0
        self._in_a_row = 0
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begin the first thread. Raises: RuntimeError, when none can be had."""
        with self._changed:
            self._begin_thread()

    def submit(self, work: Work, then: Then, *, urgent: bool = False) -> None:
        """Queue an errand; never waits."""
        with self._changed:
            (self._urgent if urgent else self._others).append((work, then))
            idle = len(self._threads) - self._busy
            if idle < self._ready() and len(self._threads) < self._most:
                with suppress(RuntimeError):  # no more threads to be had: those that are go on
                    self._begin_thread()
            self._changed.notify()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> None:
        """After a stop: wait that long at most for what was begun."""
        deadline = time.monotonic() + timeout_seconds
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _begin_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            _do(*errand[:2])
            with self._changed:
                self._busy -= 1
                self._others_begun -= not errand[2]
                self._changed.notify()
            del errand  # an idle thread holds nothing of what it did

    def _next(self) -> tuple[Work, Then, bool] | None:
        """The next errand, and whether it is urgent; None when all is to end."""
        with self._changed:
            while not self._stopping:
                if self._ready():
                    self._busy += 1
                    return self._taken()
                self._changed.wait()
        return None

    def _taken(self) -> tuple[Work, Then, bool]:
        others = self._others_ready()
        if self._urgent and not (others and self._in_a_row >= IN_A_ROW):
            self._in_a_row = self._in_a_row + 1 if others else 0
            return *self._urgent.popleft(), True
        self._in_a_row = 0
        self._others_begun += 1
        return *self._others.popleft(), False

    def _ready(self) -> int:
        """How many errands could begin now."""
        return len(self._urgent) + self._others_ready()

    def _others_ready(self) -> int:
        return min(len(self._others), self._shared - self._others_begun)


def _do(work: Work, then: Then) -> None:
    error = None
    try:
        work()
    except Exception as problem:  # told to whoever sent the errand
        error = problem
    then(error)
