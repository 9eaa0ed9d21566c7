"""The verbs: trigger, plan, retry, approve, list, open, health. Shared by HTTP and CLI.

Every call is a plain function of the ledger and the service, safe from any thread; waiting is
done by the caller, by asking again. Knows no FastAPI and no settings object.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from datasync.controllers import views
from datasync.controllers.equality import MirrorFacts, in_sync
from datasync.controllers.figures import stats_report
from datasync.controllers.flood import recent_deletes
from datasync.controllers.health import HealthCheck
from datasync.controllers.plan import PlanReport, held_because, summarise
from datasync.controllers.scope import Scope
from datasync.controllers.tallies import UNFINISHED, counted
from datasync.controllers.trash import TrashDesk
from datasync.errors import FileMissing, KeyRejected, UnprocessableRequest
from datasync.models.figures import DiskUsage, EventTotals
from datasync.models.s3_models import (
    DETAILS_LIMIT,
    ActivityReport,
    FailurePage,
    FileEntry,
    FilePage,
    HealthReport,
    OutcomePage,
    RunDetail,
    RunPage,
    RunReport,
    Span,
    StatsReport,
    SyncResponse,
    TransferList,
)
from datasync.models.sync_models import (
    Outcome,
    Run,
    RunKind,
    RunStatus,
    State,
    SyncOptions,
    Verdict,
)
from datasync.services.engine.planner import past
from datasync.services.engine.reconcile import RUNS_REMEMBERED
from datasync.services.events import inbox
from datasync.services.file_service import (
    FileService,
    OpenFile,
    fact_of,
    make_token,
    read_token,
)
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.ledger import Ledger

MARK_BATCH = 1000
# How long a span is, and its steps, in seconds.
_SPANS = {Span.HOUR: (3600, 60), Span.DAY: (86_400, 900), Span.WEEK: (7 * 86_400, 3600)}


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
        trash: TrashDesk,
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
        self.trash = trash
        self._clock = clock

    # Runs

    def trigger(self, prefix: str = "") -> tuple[Run, bool]:
        """Queue a reconciliation below `prefix`, or join one that covers it.

        Also whether the one that was joined was at work already.
        Raises: MalformedRequest (prefix outside S3_PREFIX), LedgerError.
        """
        run, _ = self._service.request_run(RunKind.RECONCILE, self.scope.of_run(prefix))
        return run, run.status is RunStatus.RUNNING

    def unfinished(self, run_id: int) -> bool:
        """Whether the run is still queued or running. Raises: RunMissing, LedgerError."""
        return self._ledger.run(run_id).status in UNFINISHED

    def response(self, run_id: int) -> SyncResponse:
        """The sync response of a run, as it is now. Raises: RunMissing, LedgerError."""
        run = self._ledger.run(run_id)
        outcomes: Sequence[Outcome] = ()
        if run.status not in UNFINISHED:
            outcomes = self._ledger.outcomes(run_id=run_id, limit=DETAILS_LIMIT)
        return views.run_response(run, outcomes, self.in_sync())

    def plan(self, prefix: str = "", stopped: threading.Event | None = None) -> SyncResponse:
        """What a reconciliation would do now, and whether it would be held; changes nothing.

        Raises: MalformedRequest (prefix outside S3_PREFIX), BucketError, LedgerError,
        Interrupted soon after `stopped` is set.
        """
        over = (stopped or threading.Event()).is_set
        report, held = self.planned(self.scope.within(prefix), DETAILS_LIMIT, over)
        return views.plan_response(report, held, self.in_sync())

    def planned(
        self, below: str, keep: int, stopped: Callable[[], bool] = lambda: False
    ) -> tuple[PlanReport, str | None]:
        """The plan of a run below a prefix of the bucket, and why it would be held, if it would.

        The report has the first `keep` actions. Raises: as `plan`.
        """
        mirrored = self._ledger.count(below)
        runs = self._ledger.runs(RUNS_REMEMBERED)
        before = past(runs, below, self._options.prefix, self._clock())
        report = summarise(self._service.plan(below, stopped), keep)
        return report, held_because(report, mirrored, self._options, before)

    def runs(self, limit: int, before: int | None = None) -> RunPage:
        """A page of runs, newest first. Raises: LedgerError."""
        found = self._ledger.runs(limit + 1, before)
        now = self._clock()
        shown = [views.run_report(run, now) for run in found[:limit]]
        return RunPage(runs=shown, next_before=shown[-1].id if len(found) > limit else None)

    def report(self, run_id: int) -> RunReport:
        """A run without its details. Raises: RunMissing, LedgerError."""
        return views.run_report(self._ledger.run(run_id), self._clock())

    def run(self, run_id: int, deletes: int = DETAILS_LIMIT) -> RunDetail:
        """One run with its progress, details and the first `deletes` that its plan waits to do.

        Raises: RunMissing, LedgerError.
        """
        run = self._ledger.run(run_id)
        outcomes = self._ledger.outcomes(run_id=run_id, limit=DETAILS_LIMIT)
        planned: list[tuple[str, str]] = []
        if run.status is RunStatus.HELD:
            planned = self._ledger.planned_deletes(run_id, limit=deletes)
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
            self._service.mark([(key, "retry") for key in batch])
            count += len(batch)
            shown += batch[: DETAILS_LIMIT - len(shown)]
        details = [views.queued_detail(key, "queued to be tried again") for key in shown]
        return views.marks_response(
            details, self.in_sync(), f"Queued {counted(count, 'key')} to try again"
        )

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

    def listed_files(self, prefix: str, token: str | None, limit: int) -> FilePage:
        """A page of what the bucket holds.

        Raises: MalformedRequest (prefix, token), BucketError, LedgerError.
        """
        page = self._files.listed(self.scope.within(prefix), token, limit)
        files = [views.file_entry(fact) for fact in page.facts]
        return FilePage(source="s3", files=files, next_token=page.token)

    def held_files(
        self,
        prefix: str,
        token: str | None,
        limit: int,
        states: Sequence[State] = (),
        verdict: Verdict | None = None,
        least_bytes: int = 0,
    ) -> FilePage:
        """A page of what we hold, of these states, this verdict and at least this size.

        Raises: MalformedRequest (prefix, token), LedgerError.
        """
        below = self.scope.within(prefix)
        page = self._files.held(
            below, token, limit, states=states or None, verdict=verdict, least_bytes=least_bytes
        )
        files = [views.file_entry(fact) for fact in page.facts]
        return FilePage(source="local", files=files, next_token=page.token)

    def held_file(self, key: str) -> FileEntry | None:
        """What the ledger says of a key. Raises: LedgerError."""
        row = self._ledger.get(key) if self.scope.holds(key) else None
        return views.file_entry(fact_of(row)) if row is not None else None

    def open(self, key: str) -> OpenFile:
        """Open the file of a key; the caller closes its descriptor.

        Raises: FileMissing (also of a key outside S3_PREFIX), FileDrifted, MirrorError,
        LedgerError.
        """
        if not self.scope.holds(key):
            raise FileMissing("no file is held for this key")
        return self._files.open(key)

    def outcomes(
        self, key: str | None, run_id: int | None, before: int | None, after: int | None, limit: int
    ) -> OutcomePage:
        """A page of what was done, newest first. Raises: LedgerError."""
        found = self._ledger.history(
            run_id=run_id, key=key, before=before, after=after, limit=limit + 1
        )
        shown = [views.outcome_entry(number, outcome) for number, outcome in found[:limit]]
        more = len(found) > limit
        return OutcomePage(outcomes=shown, next_before=shown[-1].id if more else None)

    def activity(self, span: Span) -> ActivityReport:
        """What was done in the steps of a span that ends now. Raises: LedgerError."""
        seconds, step = _SPANS[span]
        now = self._clock()
        spells = self._ledger.activity(now - seconds, now, step)
        steps = [views.activity_step(spell) for spell in spells]
        return ActivityReport(span=span, step_seconds=step, steps=steps)

    def transfers(self) -> TransferList:
        """What is on its way. Raises: LedgerError."""
        moving = self._ledger.moving(self._clock())
        return TransferList(transfers=[views.transfer_entry(each) for each in moving])

    def health(self) -> HealthReport:
        """How the service is, in under three seconds."""
        return self._health.report()

    def disk_usage(self) -> DiskUsage | None:
        """Of the mirror's disk; None when it does not answer."""
        return self._health.disk_usage()

    def is_ready(self) -> bool:
        """Whether this process can answer requests, in under three seconds."""
        return self._health.is_ready()

    def in_sync(self) -> bool:
        """Whether the mirror is proved equal to the bucket. Raises: LedgerError."""
        return in_sync(self.facts())

    def facts(self) -> MirrorFacts:
        """What the ledger says of the whole mirror. Raises: LedgerError."""
        return self._read_facts()

    def events(self) -> EventTotals:
        """What the ledger says of events. Raises: LedgerError."""
        return self._ledger.event_totals()

    def settings(self) -> dict[str, object]:
        """The effective settings, without secrets."""
        return dict(self._settings_view)

    def stats(self) -> StatsReport:
        """Figures of the mirror. Raises: LedgerError."""
        totals, events = self._ledger.totals(), self._ledger.event_totals()
        last = self._ledger.last_run()
        scan = self._ledger.last_run(prefix=self._options.prefix, kinds=(RunKind.RECONCILE,))
        now = self._clock()
        deletes = recent_deletes(totals, self._options, now)
        return stats_report(totals, events, last, scan, deletes, now)


def _in_batches(keys: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), MARK_BATCH):
        yield list(keys[start : start + MARK_BATCH])
