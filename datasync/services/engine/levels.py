"""How hard to try: the number of requests in flight, and the pause before another try.

Pure: time and randomness come in as arguments.
"""

import threading
from dataclasses import dataclass

from datasync.errors import DataSyncError, SlowDown

START = 32
MAXIMUM = 256
_WINDOW_SECONDS = 0.06
_QUIET_SECONDS = 1.0
_SETTLED_WINDOWS = 80  # between two tries of a higher level
# One request weighs as much as this many bytes, so that small and large objects share a measure.
_REQUEST_WEIGHT = 64 * 1024
_CLEARLY_BETTER = 1.10


def pause_seconds(error: DataSyncError, failures: int, chance: float) -> float:
    """Exponential backoff with full jitter after the n-th failure; `chance` is in [0, 1).

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    base, cap = (1.0, 30.0) if isinstance(error, SlowDown) else (0.2, 10.0)
    return float(min(cap, base * 2 ** max(0, failures - 1)) * (0.5 + 0.5 * chance))


def defer_seconds(attempts: int, chance: float) -> float:
    """The wait before a dirty key that failed for good is looked at again: 5 s to an hour."""
    return float(min(3600.0, 5.0 * 2 ** min(10, max(0, attempts - 1))) * (0.75 + 0.5 * chance))


@dataclass(slots=True)
class _Window:
    started: float
    work: int = 0
    requests: int = 0
    full: bool = False


class ConcurrencyLevel:
    """The number of requests to keep in flight: a fixed one, or one that finds its own level.

    A fixed one is left only when the server asks for less, and comes back to it in time.

    It doubles while each step brings clearly more throughput, stays where one did not, tries
    again now and then, and halves when the server asks for less. Safe to use from threads.
    """

    def __init__(self, fixed: int | None, now: float) -> None:
        self._maximum = fixed if fixed is not None else MAXIMUM
        self._level = fixed if fixed is not None else START
        self._best = 0.0
        self._window = _Window(now)
        self._slowed_at = float("-inf")
        self._settled_windows = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> int:
        return self._level

    def completed(self, nbytes: int, now: float, *, in_flight: int) -> None:
        """Count one answered request of `nbytes`; `in_flight` others were under way."""
        if self._level >= self._maximum:
            return
        with self._lock:
            window = self._window
            window.work += nbytes + _REQUEST_WEIGHT
            window.requests += 1
            window.full = window.full or in_flight >= self._level - 1
            elapsed = now - window.started
            if elapsed >= _WINDOW_SECONDS and window.requests >= self._level:
                self._close(window, elapsed, now)

    def begin(self, level: int) -> None:
        """Go on from the level that another one has come to."""
        with self._lock:
            self._level = min(self._maximum, level)
            self._window.full = False  # it was of another level

    def bound(self, maximum: int) -> None:
        """Never more than this from now on. For a level that is not fixed."""
        with self._lock:
            self._maximum = maximum
            self._level = min(self._level, maximum)
            self._best, self._settled_windows = 0.0, 0  # what was best may be out of reach

    def slow_down(self, now: float) -> None:
        """The server asked for less: halve, at most once a second."""
        with self._lock:
            if now - self._slowed_at >= _QUIET_SECONDS:
                self._slowed_at = now
                self._level = max(1, self._level // 2)
                self._best, self._settled_windows = 0.0, 0
                self._window = _Window(now)

    def _close(self, window: _Window, elapsed: float, now: float) -> None:
        rate = window.work / elapsed
        self._window = _Window(now)
        if not window.full:
            return  # the level did not bind, so the rate says nothing of it
        if now - self._slowed_at < 10 * _QUIET_SECONDS:
            self._level = min(self._maximum, self._level + 1)
        elif rate > self._best * _CLEARLY_BETTER:
            self._best = rate
            self._level = min(self._maximum, self._level * 2)
            self._settled_windows = 0
        else:
            self._settle(rate)

    def _settle(self, rate: float) -> None:
        self._settled_windows += 1
        self._best = 0.9 * self._best + 0.1 * rate
        if self._settled_windows % _SETTLED_WINDOWS == 0:
            self._level = min(self._maximum, self._level + max(1, self._level // 4))
