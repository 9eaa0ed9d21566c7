"""Threads for what would keep a loop waiting: hashing files, asking S3 about an object's parts.

They are daemons and nobody waits long for them: a question that S3 does not answer must not keep
the service from stopping.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], None]
Then = Callable[[Exception | None], None]


class HashingThreads:
    """Runs errands; `then` hears on the same thread how each one ended."""

    def __init__(self, name: str, count: int) -> None:
        self.stopping = False
        self._errands: SimpleQueue[tuple[Work, Then] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{index}", daemon=True)
            for index in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, then: Then) -> None:
        self._errands.put((work, then))

    def stop(self, timeout_seconds: float) -> None:
        """Begin nothing more; wait that long at most for what was begun."""
        self.stopping = True
        for _ in self._threads:
            self._errands.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_seconds / len(self._threads))

    def is_stopping(self) -> bool:
        return self.stopping

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None and not self.stopping:
            work, then = errand
            error = None
            try:
                work()
            except Exception as problem:  # told to whoever sent the errand
                error = problem
            then(error)
