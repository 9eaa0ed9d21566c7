"""The verbs: trigger, plan, notify, retry, approve, list, open, health. Shared by HTTP and CLI.

Every call is a plain function of the ledger and the service, safe from any thread; waiting is
done by the caller, by asking again. Knows no FastAPI and no settings object.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from datasync.controllers import views
from datasync.controllers.equality import MirrorFacts, in_sync
from datasync.controllers.health import HealthCheck
from datasync.controllers.scope import Scope
from datasync.errors import FileMissing, KeyRejected, UnprocessableRequest
from datasync.models.s3_models import (
    DETAILS_LIMIT,
    FailurePage,
    FilePage,
    HealthReport,
    RunDetail,
    RunPage,
    RunReport,
    StatsReport,
    SyncDetail,
    SyncResponse,
)
from datasync.models.sync_models import (
    Action,
    Operation,
    Outcome,
    Run,
    RunKind,
    RunStatus,
    State,
    SyncOptions,
)
from datasync.services.events import inbox
from datasync.services.events.inbox import EventStatus, KeyEvent
from datasync.services.file_service import FileService, OpenFile, make_token, read_token
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.ledger import Ledger

MARK_BATCH = 1000
_CLOCK_SLACK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification that was taken: its events, and since when its keys are marked."""

    events: tuple[KeyEvent, ...]
    since: float

    @property
    def keys(self) -> tuple[str, ...]:
        """The marked keys, each once, in their order."""
        queued = (event.key for event in self.events if event.status is EventStatus.QUEUED)
        return tuple(dict.fromkeys(queued))


class SyncController:
    """What people and programs can ask for."""

    def __init__(
        self,
        service: S3SyncService,
        files: FileService,
        ledger: Ledger,
        options: SyncOptions,
        read_facts: Callable[[], MirrorFacts],
        health: HealthCheck,
        settings_view: Mapping[str, object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._files = files
        self._ledger = ledger
        self._options = options
        self.scope = Scope(options.prefix)
        self._read_facts = read_facts
        self._health = health
        self._settings_view = settings_view
        self._clock = clock

    # Runs

    def trigger(self, prefix: str = "") -> Run:
        """Queue a reconciliation below `prefix`, or join one that covers it.

        Raises: MalformedRequest (prefix outside S3_PREFIX), LedgerError.
        """
        run, _ = self._service.request_run(RunKind.RECONCILE, self.scope.of_run(prefix))
        return run

    def unfinished(self, run_id: int) -> bool:
        """Whether the run is still queued or running. Raises: RunMissing, LedgerError."""
        return self._ledger.run(run_id).status in views.UNFINISHED

    def response(self, run_id: int) -> SyncResponse:
        """The sync response of a run, as it is now. Raises: RunMissing, LedgerError."""
        run = self._ledger.run(run_id)
        outcomes: Sequence[Outcome] = ()
        if run.status not in views.UNFINISHED:
            outcomes = self._ledger.outcomes(run_id=run_id, limit=DETAILS_LIMIT)
        return views.run_response(run, outcomes, self.in_sync())

    def plan(self, prefix: str = "", stopped: threading.Event | None = None) -> SyncResponse:
        """What a reconciliation would do now; changes nothing. Ends early once `stopped` is set.

        Raises: MalformedRequest (prefix outside S3_PREFIX), BucketError, LedgerError.
        """
        first: list[Action] = []
        counts: Counter[Operation] = Counter()
        for action in self._service.plan(self.scope.of_run(prefix)):
            counts[action.operation] += 1
            if len(first) < DETAILS_LIMIT:
                first.append(action)
            if stopped is not None and stopped.is_set():
                break
        return views.plan_response(first, counts, self.in_sync())

    def runs(self, limit: int, before: int | None = None) -> RunPage:
        """A page of runs, newest first. Raises: LedgerError."""
        found = self._ledger.runs(limit + 1, before)
        now = self._clock()
        shown = [views.run_report(run, now) for run in found[:limit]]
        return RunPage(runs=shown, next_before=shown[-1].id if len(found) > limit else None)

    def run(self, run_id: int) -> RunDetail:
        """One run with its progress, plan and details. Raises: RunMissing, LedgerError."""
        run = self._ledger.run(run_id)
        outcomes = self._ledger.outcomes(run_id=run_id, limit=DETAILS_LIMIT)
        planned: list[tuple[str, str]] = []
        if run.status is RunStatus.HELD:
            planned = self._ledger.planned_deletes(run_id, limit=DETAILS_LIMIT)
        return RunDetail(
            **dict(views.run_report(run, self._clock())),
            planned_deletes=[key for key, _ in planned],
            sync_details=views.bounded(map(views.outcome_detail, outcomes)),
        )

    def approve(self, run_id: int) -> RunReport:
        """Let a held plan be applied. Raises: RunMissing, RunNotHeld, LedgerError."""
        return views.run_report(self._service.approve(run_id), self._clock())

    def cancel(self, run_id: int) -> RunReport:
        """End a run without its work. Raises: RunMissing, RunNotHeld, LedgerError."""
        return views.run_report(self._service.cancel(run_id), self._clock())

    # Events

    def notify(self, body: bytes) -> Notice:
        """Journal the keys a notification names; durable when it returns.

        Raises: MalformedRequest, UnprocessableRequest, ForeignBucket, LedgerBusy, LedgerError.
        """
        events = inbox.parse(body, self._options.bucket, self._options.prefix)
        since = self._clock()
        marks = [(e.key, e.event) for e in events if e.status is EventStatus.QUEUED]
        counters = Counter(event.status.value for event in events)
        if events:
            self._service.mark(marks, counters)
        return Notice(tuple(events), since)

    def notice_response(self, notice: Notice) -> SyncResponse:
        """That a notification was taken, one detail a record. Raises: LedgerError."""
        tally = Counter(event.status for event in notice.events)
        text = ", ".join(f"{tally[status]} {status.value}" for status in EventStatus)
        details = [views.event_detail(event) for event in notice.events]
        return views.marks_response(details, self.in_sync(), f"Took {text}")

    def unsettled(self, keys: Sequence[str]) -> tuple[str, ...]:
        """Those marked keys that no attempt has been made for yet. Raises: LedgerError."""
        dirty = self._ledger.dirty(keys)
        # A mark sets attempts to 0: more says that the key was looked at since, and failed.
        return tuple(key for key in keys if key in dirty and dirty[key].attempts == 0)

    def settled_response(self, notice: Notice, seconds: float) -> SyncResponse:
        """What became of a notification's keys so far. Raises: LedgerError."""
        waiting = set(self.unsettled(notice.keys))
        details = [views.event_detail(event) for event in notice.events if not _marked(event)]
        details += [self._settled_detail(key, notice.since, waiting) for key in notice.keys]
        return views.settled_response(details, self.in_sync(), seconds)

    def _settled_detail(self, key: str, since: float, waiting: set[str]) -> SyncDetail:
        if key in waiting:
            return views.queued_detail(key, "still queued")
        for outcome in self._ledger.outcomes(key=key, limit=1, failures_first=False):
            if outcome.at >= since - _CLOCK_SLACK_SECONDS:
                return views.outcome_detail(outcome)
        return views.unchanged_detail(key)

    # Failures

    def failures(self, prefix: str, token: str | None, limit: int) -> FailurePage:
        """A page of keys that are not right.

        Raises: MalformedRequest (prefix outside S3_PREFIX, token), LedgerError.
        """
        below = self.scope.within(prefix)
        found = self._ledger.failures(below, read_token(token, below), limit + 1)
        shown = [views.failure_entry(failure) for failure in found[:limit]]
        more = len(found) > limit
        return FailurePage(failures=shown, next_token=make_token(shown[-1].key) if more else None)

    def retry(self, keys: Sequence[str] | None) -> SyncResponse:
        """Mark keys, or with None every failure, to be looked at at once.

        Raises: UnprocessableRequest (a key S3 could not hold, or outside S3_PREFIX), LedgerError.
        """
        batches = self._failed_keys() if keys is None else _in_batches(self._checked(keys))
        count, shown = 0, list[str]()
        for batch in batches:
            self._service.mark([(key, "retry") for key in batch], {})
            count += len(batch)
            shown += batch[: DETAILS_LIMIT - len(shown)]
        details = [views.queued_detail(key, "queued to be tried again") for key in shown]
        return views.marks_response(details, self.in_sync(), f"Queued {count} keys to try again")

    def _failed_keys(self) -> Iterator[list[str]]:
        after = ""
        while batch := self._ledger.failures(self.scope.prefix, after, MARK_BATCH):
            after = batch[-1].key
            yield [failure.key for failure in batch]

    def _checked(self, keys: Sequence[str]) -> list[str]:
        for key in keys:
            try:
                inbox.checked_key(key)
            except KeyRejected as error:
                raise UnprocessableRequest(f"keys: {error}") from None
            if not self.scope.holds(key):
                raise UnprocessableRequest("keys: one is outside S3_PREFIX")
        return list(dict.fromkeys(keys))

    # Reading

    def files(self, source: str, prefix: str, token: str | None, limit: int) -> FilePage:
        """A page of what we hold (`local`) or the bucket holds (`s3`).

        Raises: MalformedRequest (prefix, token), BucketError, LedgerError.
        """
        listing = self._files.held if source == "local" else self._files.listed
        page = listing(self.scope.within(prefix), token, limit)
        return FilePage.model_validate(
            {
                "source": source,
                "files": [views.file_entry(fact) for fact in page.facts],
                "next_token": page.token,
            }
        )

    def open(self, key: str) -> OpenFile:
        """Open the file of a key; the caller closes its descriptor.

        Raises: FileMissing (also of a key outside S3_PREFIX), FileDrifted, MirrorError,
        LedgerError.
        """
        if not self.scope.holds(key):
            raise FileMissing("no file is held for this key")
        return self._files.open(key)

    def health(self) -> HealthReport:
        """How the service is, in under three seconds."""
        return self._health.report()

    def in_sync(self) -> bool:
        """Whether the mirror is proved equal to the bucket. Raises: LedgerError."""
        return in_sync(self.facts())

    def facts(self) -> MirrorFacts:
        """What the ledger says of the whole mirror. Raises: LedgerError."""
        return self._read_facts()

    def settings(self) -> dict[str, object]:
        """The effective settings, without secrets."""
        return dict(self._settings_view)

    def stats(self) -> StatsReport:
        """Figures of the mirror. Raises: LedgerError."""
        totals = self._ledger.totals()
        last = self._ledger.last_run()
        scan = self._ledger.last_run(prefix=self._options.prefix, kinds=(RunKind.RECONCILE,))
        return StatsReport(
            objects=totals.objects,
            bytes=totals.bytes,
            pending=totals.pending,
            failed=totals.failed,
            archived=totals.by_state.get(State.ARCHIVED, 0),
            oversize=totals.by_state.get(State.OVERSIZE, 0),
            rejected=totals.by_state.get(State.REJECTED, 0),
            last_run=views.run_report(last, self._clock()) if last else None,
            events=dict(totals.events),
            lag_p50=totals.lag_p50,
            lag_p99=totals.lag_p99,
            drift=scan.counts.drift if scan else 0,
        )


def _marked(event: KeyEvent) -> bool:
    return event.status is EventStatus.QUEUED


def _in_batches(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), MARK_BATCH):
        yield list(keys[start : start + MARK_BATCH])
