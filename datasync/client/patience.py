"""How long something is waited for, and how long to pause between two looks. Pauses nobody."""

import time
from collections.abc import Callable

from datasync.client.errors import WaitTimeout

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class Patience:
    """Looks are close together at first, then fewer. Without a timeout it lasts for ever."""

    def __init__(
        self, timeout_seconds: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._began = clock()
        self._pause = FIRST_PAUSE_SECONDS

    def pause_seconds(self, so_far: str) -> float:
        """How long to pause now; `so_far` is how things stand. Raises: WaitTimeout."""
        pause, self._pause = self._pause, min(self._pause * 1.5, LONGEST_PAUSE_SECONDS)
        if self._timeout_seconds is None:
            return pause
        left = self._began + self._timeout_seconds - self._clock()
        if left <= 0:
            raise WaitTimeout(
                f"{so_far}, after {self._timeout_seconds:g} seconds of waiting",
                hint="The service goes on; wait again, or look at its health.",
            )
        return min(pause, left)
