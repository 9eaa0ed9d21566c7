"""Takes events, wherever they come from: reads them, journals them, tells what became of them.

Every call but `record` returns at once or after a question to the ledger; nothing here asks S3.
Knows no FastAPI, no queue and no settings object.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial

from datasync.controllers import views
from datasync.errors import DataSyncError, RequestRefused
from datasync.models.s3_models import DetailStatus, SyncDetail, SyncResponse
from datasync.models.sync_models import EventNote, Outcome, SyncOptions
from datasync.services.events import inbox
from datasync.services.events.inbox import EventStatus, KeyEvent
from datasync.services.events.journal import PASSING, Entry, Journal, Told
from datasync.services.events.kinds import EventKind, type_of
from datasync.services.storage.ledger import Ledger
from datasync.utils.logger import get_logger

UNKNOWN_NAMES = 1_000  # remembered, so that each is logged once
_CLOCK_SLACK_SECONDS = 1.0
# What a sender says of an event's time counts if it is of these days: SQS keeps messages for 14.
OLDEST_SECONDS = 30 * 86_400.0
NEWEST_SECONDS = 300.0
PORTION = 5_000  # events of a batch that are handed to the journal at once
_EVENT = "event."
_POISON = _EVENT + "poison"


@dataclass(frozen=True, slots=True)
class Notice:
    """What one sender told, when it arrived, and what it comes to: marks and figures."""

    events: tuple[KeyEvent, ...]
    received: float
    notes: tuple[EventNote, ...]
    figures: Mapping[str, int]
    traceparent: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys to mark, each once, in their order."""
        return tuple(dict.fromkeys(note.key for note in self.notes))


class Intake:
    """Events in, marks out. Safe to use from many threads.

    All work that grows with the number of events is done by `read`, `taken`, `unsettled` and
    `settled`; `record` only hands over.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        options: SyncOptions,
        in_sync: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._options = options
        self._in_sync = in_sync
        self._clock = clock
        self._unknown: set[str] = set()
        self._log = get_logger(__name__)

    def read(self, body: bytes, via: str, traceparent: str | None = None) -> Notice:
        """The events in a body, and what they come to. `via` names how they came, in the figures;
        `traceparent` is the context of who brought them.

        Raises: MalformedRequest, UnprocessableRequest, ForeignBucket.
        """
        events = tuple(inbox.parse(body, self._options.bucket, self._options.prefix))
        received = self._clock()
        self._tell_unknown(events)
        notes = tuple(
            EventNote(event.key, event.event, received, _happened(event, received), traceparent)
            for event in events
            if _marks(event)
        )
        return Notice(events, received, notes, _figures(events, via), traceparent)

    def record(self, notice: Notice, told: Told) -> None:
        """Journal a notice; `told` hears on another thread that it is on stable storage.

        Raises: JournalFull, Interrupted.
        """
        self._journal.submit([_entry(notice, told)])

    def take(
        self, bodies: Sequence[bytes], via: str, traceparent: str | None = None
    ) -> list[DataSyncError | None]:
        """Read and journal bodies, many in one commit; blocks until they are on stable storage.

        For each body None, or what makes it poison: it cannot be read, or the ledger takes all
        but it. That keeps no other back.

        Raises: LedgerBusy, LedgerError, DiskFull, Interrupted when some of them were not
        journaled for a reason that is not their own; the others do no harm when they come again.
        """
        verdicts: list[DataSyncError | None] = [None] * len(bodies)
        notices: dict[int, Notice] = {}
        for number, body in enumerate(bodies):
            try:
                notices[number] = self.read(body, via, traceparent)
            except RequestRefused as error:
                verdicts[number] = error
        for portion in _portions(notices):
            for number, refused in self._journaled(portion):
                verdicts[number] = refused
        poison = sum(verdict is not None for verdict in verdicts)
        if poison:
            self._prove_sound({_POISON: poison})
        return verdicts

    def _journaled(self, notices: Mapping[int, Notice]) -> Iterator[tuple[int, DataSyncError]]:
        """Journal notices and wait for all; what the ledger has against some, by number."""
        written = {number: Future[None]() for number in notices}
        self._journal.submit(
            [
                _entry(notice, partial(_settle, written[number]))
                for number, notice in notices.items()
            ]
        )
        wait(written.values())
        for number, future in written.items():
            error = future.exception()
            if isinstance(error, DataSyncError) and not isinstance(error, PASSING):
                yield number, error
            elif error is not None:
                raise error

    def _prove_sound(self, figures: Mapping[str, int]) -> None:
        """Count what was refused. A ledger that does not even take that had no reason to refuse.

        Raises: LedgerBusy, LedgerError, DiskFull.
        """
        written = Future[None]()
        self._journal.submit([Entry((), figures, self._clock(), partial(_settle, written))])
        written.result()

    def _tell_unknown(self, events: Iterable[KeyEvent]) -> None:
        for event in events:
            new = event.kind is EventKind.UNKNOWN and event.event not in self._unknown
            if new and len(self._unknown) < UNKNOWN_NAMES:
                self._unknown.add(event.event)
                self._log.warning("unknown event type, ignored", type=event.event)

    # Answers

    def taken(self, notice: Notice) -> SyncResponse:
        """That a notice was journaled, one detail a record. Raises: LedgerError."""
        tally = {status: notice.figures.get(_EVENT + status.value, 0) for status in EventStatus}
        text = ", ".join(f"{count} {status.value}" for status, count in tally.items())
        some = views.shown(notice.events, _is_rejected)
        details = [views.event_detail(event) for event in some]
        # A key that was marked this moment has to be looked at: nothing else needs to be asked.
        in_sync = not notice.notes and self._in_sync()
        return views.marks_response(details, in_sync, f"Took {text}")

    def unsettled(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Those marked keys that no attempt has been made for yet. Raises: LedgerError."""
        dirty = self._ledger.dirty(keys)
        # A mark sets attempts to 0: more says that the key was looked at since, and failed.
        return tuple(key for key in keys if key in dirty and dirty[key].attempts == 0)

    def settled(self, notice: Notice, seconds: float) -> SyncResponse:
        """What became of a notice's keys so far. Raises: LedgerError."""
        keys = notice.keys
        waiting = frozenset(self.unsettled(keys))
        fate = Fate(waiting, self._ledger.latest_outcomes(keys), notice.received)
        others = views.shown((e for e in notice.events if not _marks(e)), _is_rejected)
        details = [views.event_detail(event) for event in others]
        details += [fate.detail(key) for key in views.shown(keys, fate.failed)]
        tally = Counter(map(fate.status, keys))
        return views.settled_response(details, tally, self._in_sync(), seconds)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of keys that were told of at `since`: some wait, some have a newer outcome."""

    waiting: Collection[str]
    latest: Mapping[str, Outcome]
    since: float

    def outcome(self, key: str) -> Outcome | None:
        """The one that came of this; None while it waits, or if there was nothing to do."""
        found = self.latest.get(key) if key not in self.waiting else None
        if found is not None and found.at >= self.since - _CLOCK_SLACK_SECONDS:
            return found
        return None

    def status(self, key: str) -> DetailStatus:
        if key in self.waiting:
            return DetailStatus.QUEUED
        outcome = self.outcome(key)
        return DetailStatus(outcome.status.value) if outcome else DetailStatus.SKIPPED

    def failed(self, key: str) -> bool:
        return self.status(key) is DetailStatus.FAILED

    def detail(self, key: str) -> SyncDetail:
        if key in self.waiting:
            return views.queued_detail(key, "still queued")
        outcome = self.outcome(key)
        return views.outcome_detail(outcome) if outcome else views.unchanged_detail(key)


def _portions(notices: Mapping[int, Notice]) -> Iterator[dict[int, Notice]]:
    """The notices in their order, in pieces of at most PORTION events, or of one notice."""
    portion: dict[int, Notice] = {}
    room = PORTION
    for number, notice in notices.items():
        if portion and len(notice.events) > room:
            yield portion
            portion, room = {}, PORTION
        portion[number] = notice
        room -= len(notice.events)
    if portion:
        yield portion


def _settle(written: "Future[None]", error: Exception | None) -> None:
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(error)


def _marks(event: KeyEvent) -> bool:
    return event.status is EventStatus.QUEUED


def _happened(event: KeyEvent, received: float) -> float | None:
    """When it happened, unless that cannot be: Go's zero time, a clock that was never set."""
    at = event.happened
    believable = at is not None and -NEWEST_SECONDS <= received - at <= OLDEST_SECONDS
    return at if believable else None


def _entry(notice: Notice, told: Told) -> Entry:
    return Entry(notice.notes, notice.figures, notice.received, told, notice.traceparent)


def _figures(events: Iterable[KeyEvent], via: str) -> Counter[str]:
    """What events add to the figures: by status, by source and by type."""
    figures: Counter[str] = Counter()
    for event in events:
        figures[_EVENT + event.status.value] += 1
        figures[f"source.{via}.{event.source.value}"] += 1
        figures[f"type.{_type(event)}"] += 1
    return figures


def _type(event: KeyEvent) -> str:
    return "rejected" if event.status is EventStatus.REJECTED else type_of(event.event)


def _is_rejected(event: KeyEvent) -> bool:
    return event.status is EventStatus.REJECTED
