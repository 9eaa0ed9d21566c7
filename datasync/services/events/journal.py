"""Takes events from any thread and writes them into the ledger in groups: one commit for many.

While one group is being made durable the next one gathers, so that a burst costs a few commits
and a single event waits for none but its own. Knows no envelope, no HTTP and no engine.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from datasync.errors import DiskFull, Interrupted, JournalFull, LedgerBusy, LedgerTaken
from datasync.models.sync_models import EventNote
from datasync.services.storage.ledger import Ledger, measured
from datasync.tracing.port import OFF, Tracer
from datasync.utils.logger import get_logger

GROUP = 5_000  # events in one commit
WAITING = 50_000  # events that may wait for a commit; beyond it senders are asked to come back
GATHER_SECONDS = 0.01  # that a commit waits for more, while senders come side by side
QUIET_SECONDS = 1.0  # after that delays have a commit of their own
STOP_SECONDS = 5.0
PASSING = (LedgerBusy, LedgerTaken, DiskFull)  # not the doing of any entry

# Hears on the journal's thread that an entry is on stable storage, or why it is not.
Told = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What one sender told: keys to mark and figures to add. All of it is written, or nothing."""

    notes: Sequence[EventNote]
    figures: Mapping[str, int]
    received: float
    told: Told
    traceparent: str | None = None

    @property
    def weight(self) -> int:
        return len(self.notes) or 1


class Journal:
    """One writer thread, started by the first entry."""

    def __init__(
        self,
        ledger: Ledger,
        ring: Callable[[], None],
        *,
        tracer: Tracer = OFF,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._ring = ring
        self._tracer = tracer
        self._clock = clock
        self._waiting: deque[Entry] = deque()
        self._weight = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._crowded = False
        self._delays: list[float] = []  # of the last commit; the next one takes them along

    def submit(self, entries: Sequence[Entry]) -> None:
        """Hand entries over, all of them; each is told None once it is on stable storage.

        It is told LedgerBusy, LedgerTaken or DiskFull when it is not, which is no fault of its
        own, or else what the ledger has against it: LedgerError, KeyRejected.

        Raises: JournalFull when too many wait already, or no thread is to be had, Interrupted
        after `close`. Any number is admitted while nothing waits: else there would be some that
        nobody ever admits.
        """
        weight = sum(entry.weight for entry in entries)
        with self._changed:
            if self._closed:
                raise Interrupted("the journal is closed", hint="Try again in a moment.")
            if self._weight and self._weight + weight > WAITING:
                raise JournalFull(f"{self._weight} events wait to be written")
            self._start()
            self._waiting.extend(entries)
            self._weight += weight
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="journal", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                raise JournalFull(f"no thread can be started to write events: {error}") from error
            self._thread = thread

    def _run(self) -> None:
        while (group := self._next()) is not None:
            try:
                self._write(group)
            except Exception:  # the edge of this thread: others wait for the next group
                get_logger(__name__).exception("a mistake in the journal")

    def _next(self) -> list[Entry] | None:
        """The entries of the next commit, in their order; None at the end.

        Without any: it is quiet, and time to write the delays that nothing came to take along.
        """
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return [] if self._delays else None
                self._crowded = False
                called = self._changed.wait(QUIET_SECONDS if self._delays else None)
                if not called:
                    return []
        if self._crowded and not self._closed:
            time.sleep(GATHER_SECONDS)  # the others of the last group are likely to come again
        with self._changed:
            group: list[Entry] = []
            weight = 0
            while self._waiting and (not group or weight + self._waiting[0].weight <= GROUP):
                group.append(self._waiting.popleft())
                weight += group[-1].weight
            self._weight -= weight
        self._crowded = len(group) > 1
        return group

    def _write(self, group: Sequence[Entry]) -> None:
        """In one commit; in halves if the ledger refuses it, down to the entry it cannot take."""
        error = self._commit(group)
        if error is None or isinstance(error, PASSING) or len(group) <= 1:
            ended = self._clock()
            for entry in group:
                _tell(entry, error)
            with suppress(Exception):  # a mistake in the traces must cost no entry its answer
                self._trace(group, error, ended)
            return
        middle = len(group) // 2
        self._write(group[:middle])
        self._write(group[middle:])

    def _trace(self, group: Sequence[Entry], error: Exception | None, ended: float) -> None:
        """A span for each traced entry: from its arrival until it was on stable storage."""
        for entry in group if self._tracer.on else ():
            if entry.traceparent is not None:
                span = self._tracer.begin("journal", parent=entry.traceparent, at=entry.received)
                counts = {"datasync.keys": len(entry.notes), "datasync.group": len(group)}
                span.end(counts, error=None if error is None else str(error), at=ended)

    def _commit(self, group: Sequence[Entry]) -> Exception | None:
        notes = [note for entry in group for note in entry.notes]
        figures: Counter[str] = Counter()
        for entry in group:
            figures.update(entry.figures)
        figures.update(measured("journal", self._delays))
        self._delays = []  # if it fails, a few figures less
        try:
            self._ledger.journal(notes, figures)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            return error
        if notes:
            self._ring()
        now = self._clock()
        self._delays += [max(0.0, now - entry.received) for entry in group]
        return None


def _tell(entry: Entry, error: Exception | None) -> None:
    try:
        entry.told(error)
    except Exception:  # whoever does not want to hear must not keep it from the others
        get_logger(__name__).exception("a sender could not be told")
