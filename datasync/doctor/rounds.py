"""Runs checks side by side, each on a thread of its own and within its time.

One that fails or hangs hides no other: whoever does not answer in time is left behind and
reported. Knows nothing of what is checked.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from datasync.doctor.findings import Finding, Level, Line, Tell, failed, failed_by, skipped
from datasync.errors import DataSyncError

PATIENCE_SECONDS = 20.0
_BLOCKS = (Level.FAIL, Level.SKIP)
SLOW_ADVICE = "Find out what hangs there: a server, a name server, a disk that is not local."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    It begins when the checks in `after` and `needs` have ended, and is skipped when one that it
    `needs` failed or was skipped.
    """

    name: str
    look: Callable[[], Finding]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class _Running:
    check: Check
    begun: float


class Round:
    """One round of checks. `lines` has what is known by now, by name."""

    def __init__(self, checks: Sequence[Check], tell: Tell) -> None:
        self.lines: dict[str, Line] = {}
        self._names = {check.name for check in checks}
        self._waiting = list(checks)
        self._running: dict[str, _Running] = {}
        self._answers: SimpleQueue[tuple[str, Finding]] = SimpleQueue()
        self._tell = tell

    def run(self) -> dict[str, Line]:
        """Run all checks; each line is told as soon as it is known."""
        while self._waiting or self._running:
            self._begin()
            if self._running:
                self._hear()
                self._leave_behind()
        return self.lines

    def _begin(self) -> None:
        for check in list(self._waiting):
            if (blocker := self._blocker(check)) is not None:
                self._waiting.remove(check)
                self._settle(check.name, blocker, time.monotonic())
            elif all(self._is_over(name) for name in (*check.needs, *check.after)):
                self._waiting.remove(check)
                self._start(check)

    def _blocker(self, check: Check) -> Finding | None:
        """Why a check cannot be done, as far as is known by now."""
        for name in check.needs:
            line = self.lines.get(name)
            if line is not None and line.finding.level in _BLOCKS:
                how = "failed" if line.finding.level is Level.FAIL else "was skipped"
                return skipped(f"{name!r} {how}")
        return None

    def _is_over(self, name: str) -> bool:
        return name in self.lines or name not in self._names

    def _start(self, check: Check) -> None:
        self._running[check.name] = _Running(check, time.monotonic())
        threading.Thread(
            target=self._answer, args=(check,), name=f"doctor {check.name}", daemon=True
        ).start()

    def _answer(self, check: Check) -> None:
        self._answers.put((check.name, looked(check.look)))

    def _hear(self) -> None:
        """Wait for the next answer, or until the first of those who run is out of time."""
        over = min(each.begun + each.check.seconds for each in self._running.values())
        try:
            name, finding = self._answers.get(timeout=max(0.0, over - time.monotonic()))
        except Empty:
            return
        running = self._running.pop(name, None)
        if running is not None:  # else it came too late
            self._settle(name, finding, running.begun)

    def _leave_behind(self) -> None:
        now = time.monotonic()
        for name, running in list(self._running.items()):
            if now >= running.begun + running.check.seconds:
                del self._running[name]
                slow = failed(f"no answer within {running.check.seconds:g} seconds", SLOW_ADVICE)
                self._settle(name, slow, running.begun)

    def _settle(self, name: str, finding: Finding, begun: float) -> None:
        line = Line(name, finding, round(time.monotonic() - begun, 3))
        self.lines[name] = line
        self._tell(line)


def looked(look: Callable[[], Finding]) -> Finding:
    """What a look finds, whatever goes wrong in it."""
    try:
        return look()
    except DataSyncError as error:
        return failed_by(error)
    except Exception as error:  # a fault of one check must not hide what the others find
        return failed(f"internal error: {type(error).__name__}: {error}", "Please report this.")
