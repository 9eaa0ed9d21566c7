"""A clock that stands where it is put."""


class StandingClock:
    """Gives `now`, in seconds, until it is set to something else."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
