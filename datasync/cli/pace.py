"""How fast a run is going and when it may be over: pure arithmetic on samples of its counts."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from datasync.models.sync_models import RunCounts

WINDOW_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    objects: int
    bytes: int


def objects_done(counts: RunCounts) -> int:
    """How many of the planned keys are finished, well or badly."""
    done = counts.downloaded + counts.deleted + counts.adopted + counts.skipped + counts.failed
    return min(done, counts.planned)


class Pace:
    """Speed over the last `WINDOW_SECONDS`; `at` is any clock in seconds that only goes forward."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def add(self, at: float, counts: RunCounts) -> None:
        """Take a sample."""
        self._samples.append(_Sample(at, objects_done(counts), counts.bytes))
        while len(self._samples) > 2 and at - self._samples[1].at >= WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def objects_per_second(self) -> float:
        return self._speed(lambda sample: sample.objects)

    @property
    def bytes_per_second(self) -> float:
        return self._speed(lambda sample: sample.bytes)

    def seconds_left(self, counts: RunCounts) -> float | None:
        """Seconds until the known work is done; None while nothing moves.

        Many small objects are bound by their number, few large ones by their bytes: the slower
        of the two says when it is over.
        """
        estimates = [
            left / speed
            for left, speed in (
                (counts.planned - objects_done(counts), self.objects_per_second),
                (max(counts.bytes_planned - counts.bytes, 0), self.bytes_per_second),
            )
            if speed > 0
        ]
        return max(estimates, default=None)

    def _speed(self, measure: Callable[[_Sample], int]) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        return max(measure(last) - measure(first), 0) / seconds if seconds > 0 else 0.0
