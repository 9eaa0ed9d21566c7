"""Turns the engine's values into the wire's shapes. Pure: no ledger, no clock, no HTTP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from datasync.controllers.tallies import UNFINISHED, counted, successes, work_done
from datasync.models.figures import Moving, Spell
from datasync.models.s3_models import (
    DETAILS_LIMIT,
    ActivityStep,
    DetailStatus,
    FailureEntry,
    FileEntry,
    OperationName,
    OutcomeEntry,
    RunProgress,
    RunReport,
    SyncDetail,
    SyncResponse,
    SyncStatus,
    TransferEntry,
)
from datasync.models.sync_models import (
    Action,
    Failure,
    Operation,
    Outcome,
    Run,
    RunCounts,
    RunKind,
    RunStatus,
)
from datasync.services.events.inbox import EventStatus, KeyEvent

if TYPE_CHECKING:
    from datasync.controllers.plan import PlanReport
    from datasync.services.file_service import FileFact

Shown = TypeVar("Shown")

SYNC_STATUS = {
    RunStatus.QUEUED: SyncStatus.ACCEPTED,
    RunStatus.RUNNING: SyncStatus.ACCEPTED,
    RunStatus.SUCCESS: SyncStatus.SUCCESS,
    RunStatus.PARTIAL: SyncStatus.PARTIAL,
    RunStatus.FAILED: SyncStatus.FAILED,
    RunStatus.INTERRUPTED: SyncStatus.FAILED,
    RunStatus.CANCELLED: SyncStatus.FAILED,
    RunStatus.HELD: SyncStatus.HELD,
}
# What a plan with any of these says: the mirror is not equal now.
CHANGES = (Operation.DOWNLOAD, Operation.DELETE, Operation.ADOPT)
_PLANNED = {Operation.SKIP: DetailStatus.SKIPPED, Operation.REJECT: DetailStatus.REJECTED}
_FIRST = (DetailStatus.FAILED, DetailStatus.REJECTED)


def moment(seconds: float) -> datetime:
    """Seconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


# Runs


def run_report(run: Run, now: float) -> RunReport:
    """A run with its progress as of `now`."""
    counts = run.counts
    return RunReport(
        id=run.id,
        kind=run.kind.value,
        prefix=run.prefix,
        status=run.status.value,
        requested=moment(run.requested),
        started=moment_or_none(run.started),
        finished=moment_or_none(run.finished),
        seconds=run_seconds(run, now),
        listed=counts.listed,
        downloaded=counts.downloaded,
        deleted=counts.deleted,
        adopted=counts.adopted,
        unchanged=counts.unchanged,
        skipped=counts.skipped,
        failed=counts.failed,
        drift=counts.drift,
        deletes_planned=run.deletes_planned,
        cancel_requested=run.cancel_requested,
        approved=run.approved,
        error=run.error,
        hint=run.hint,
        progress=run_progress(run, now),
    )


def run_seconds(run: Run, now: float) -> float | None:
    """How long the run took, or takes so far; None before it started."""
    if run.started is None:
        return None
    return max(0.0, (now if run.finished is None else run.finished) - run.started)


def run_progress(run: Run, now: float) -> RunProgress:
    """Share, rate and remaining time, as far as the tallies tell them."""
    counts, seconds = run.counts, run_seconds(run, now)
    done, planned = work_done(counts), max(counts.planned, work_done(counts))
    rate = counts.bytes / seconds if seconds else None
    left = max(0, counts.bytes_planned - counts.bytes)
    running = run.status is RunStatus.RUNNING
    return RunProgress(
        percent=_percent(run, done, planned),
        files_done=done,
        files_planned=planned,
        bytes_done=counts.bytes,
        bytes_planned=counts.bytes_planned,
        bytes_per_second=rate,
        eta_seconds=left / rate if running and rate and counts.bytes_planned else None,
    )


def _percent(run: Run, done: int, planned: int) -> float | None:
    if run.status is RunStatus.SUCCESS:
        return 100.0
    return round(100.0 * done / planned, 1) if planned else None


# The sync response


def run_response(run: Run, outcomes: Sequence[Outcome], in_sync: bool) -> SyncResponse:
    """How a run ended, or that it is taken on."""
    good, bad = successes(run.counts), run.counts.failed
    return SyncResponse(
        status=SYNC_STATUS[run.status],
        message=run_message(run),
        processed_files=good + bad,
        successful_operations=good,
        failed_operations=bad,
        skipped_files=run.counts.unchanged + run.counts.skipped,
        run_id=run.id,
        in_sync=in_sync,
        sync_details=bounded(map(outcome_detail, outcomes)),
    )


def run_message(run: Run) -> str:
    """One sentence on a run."""
    if run.status in UNFINISHED:
        return f"Run {run.id} is {run.status.value}"
    text = _verified(run.counts) if run.kind is RunKind.VERIFY else _synced(run)
    if run.status is RunStatus.HELD:
        waiting = counted(run.deletes_planned, "delete")
        verb = "waits" if run.deletes_planned == 1 else "wait"
        held = f"{text}; {waiting} {verb} for approval of run {run.id}"
        return f"{held}: {run.error}" if run.error else held
    if run.status in (RunStatus.SUCCESS, RunStatus.PARTIAL):
        return f"{text}; {run.error}" if run.error else text
    return f"Run {run.id} {_ENDED[run.status]}: {run.error or text}"


def _synced(run: Run) -> str:
    good = successes(run.counts)
    synced = f"Synced {good} of {good + run.counts.failed} files"
    took = run_seconds(run, run.requested)
    return synced if took is None else f"{synced} in {took:.2f} seconds"


def _verified(counts: RunCounts) -> str:
    """How a verification ended: it moves few files and looks at all of them."""
    looked_at = counted(work_done(counts), "file")
    text = f"Verified {looked_at}: {counts.adopted + counts.skipped:,} as they should be"
    removed = f", {counts.deleted:,} removed" if counts.deleted else ""
    return f"{text}, {counts.downloaded:,} repaired{removed}, {counts.failed:,} failed"


_ENDED = {
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "was cancelled",
    RunStatus.INTERRUPTED: "was interrupted",
}


WOULD_BE_HELD = "; a run would be held: "  # in the message of a plan, before the reason


def plan_response(report: "PlanReport", held: str | None, in_sync: bool) -> SyncResponse:
    """A plan of which nothing was done; `held` says why a run of it would wait for approval."""
    counts = report.counts
    to_do = sum(counts[operation] for operation in CHANGES)
    text = ", ".join(f"{counts[operation]} to {operation.value}" for operation in Operation)
    wait = f"{WOULD_BE_HELD}{held}" if held else ""
    return SyncResponse(
        status=SyncStatus.HELD if held else SyncStatus.SUCCESS,
        message=f"Planned: {text}; nothing was changed{wait}",
        processed_files=0,
        successful_operations=0,
        failed_operations=0,
        skipped_files=report.unchanged + counts[Operation.SKIP] + counts[Operation.REJECT],
        run_id=None,
        in_sync=in_sync and not to_do,
        sync_details=bounded(map(action_detail, report.actions)),
    )


def marks_response(details: Sequence[SyncDetail], in_sync: bool, message: str) -> SyncResponse:
    """Keys that were marked, and events that were not."""
    return SyncResponse(
        status=SyncStatus.ACCEPTED,
        message=message,
        processed_files=0,
        successful_operations=0,
        failed_operations=0,
        skipped_files=0,
        run_id=None,
        in_sync=in_sync,
        sync_details=bounded(details),
    )


def settled_response(
    details: Iterable[SyncDetail],
    tally: Mapping[DetailStatus, int],
    in_sync: bool,
    seconds: float,
) -> SyncResponse:
    """What became of marked keys within `seconds` of waiting; `tally` counts all of them."""
    good = tally.get(DetailStatus.SUCCESS, 0)
    bad = tally.get(DetailStatus.FAILED, 0)
    waiting = tally.get(DetailStatus.QUEUED, 0)
    late = f"; {waiting} still queued" if waiting else ""
    return SyncResponse(
        status=_settled_status(good, bad, waiting),
        message=f"Synced {good} of {good + bad + waiting} files in {seconds:.2f} seconds{late}",
        processed_files=good + bad,
        successful_operations=good,
        failed_operations=bad,
        skipped_files=tally.get(DetailStatus.SKIPPED, 0),
        run_id=None,
        in_sync=in_sync,
        sync_details=bounded(details),
    )


def _settled_status(good: int, bad: int, waiting: int) -> SyncStatus:
    if waiting:
        return SyncStatus.ACCEPTED
    if bad:
        return SyncStatus.PARTIAL if good else SyncStatus.FAILED
    return SyncStatus.SUCCESS


def bounded(details: Iterable[SyncDetail]) -> list[SyncDetail]:
    """Failures first, at most `DETAILS_LIMIT` in all."""
    return shown(details, lambda detail: detail.status in _FIRST)


def shown(items: Iterable[Shown], fails: Callable[[Shown], bool]) -> list[Shown]:
    """What `bounded` would keep, found before a detail is made of each: details are dear."""
    first: list[Shown] = []
    rest: list[Shown] = []
    for item in items:
        wanted = first if fails(item) else rest
        if len(wanted) < DETAILS_LIMIT:
            wanted.append(item)
    return (first + rest)[:DETAILS_LIMIT]


# Details


def outcome_detail(outcome: Outcome) -> SyncDetail:
    return SyncDetail(
        operation=outcome.operation.value,
        file_key=outcome.key,
        status=DetailStatus(outcome.status.value),
        message=outcome.message,
    )


def outcome_entry(number: int, outcome: Outcome) -> OutcomeEntry:
    """An outcome with its id."""
    return OutcomeEntry(
        id=number,
        key=outcome.key,
        operation=outcome.operation.value,
        status=DetailStatus(outcome.status.value),
        message=outcome.message,
        at=moment(outcome.at),
        run_id=outcome.run_id,
        bytes=outcome.bytes,
        seconds=outcome.seconds,
        verdict=outcome.verdict.value if outcome.verdict else None,
        error=outcome.error,
        hint=outcome.hint,
        lag_seconds=outcome.lag_seconds,
    )


def activity_step(spell: Spell) -> ActivityStep:
    return ActivityStep(
        at=moment(spell.at),
        downloaded=spell.downloaded,
        bytes=spell.bytes,
        deleted=spell.deleted,
        failed=spell.failed,
        events=spell.events,
        lag_seconds=spell.lag_seconds,
        most_lag_seconds=spell.most_lag_seconds,
    )


def transfer_entry(moving: Moving) -> TransferEntry:
    return TransferEntry(
        key=moving.key,
        size=moving.size,
        received=moving.received,
        started=moment(moving.started),
        run_id=moving.run_id,
    )


def action_detail(action: Action) -> SyncDetail:
    return SyncDetail(
        operation=action.operation.value,
        file_key=action.key,
        status=_PLANNED.get(action.operation, DetailStatus.QUEUED),
        message=action.reason,
    )


def event_detail(event: KeyEvent) -> SyncDetail:
    return SyncDetail(
        operation=_event_operation(event),
        file_key=event.key,
        status=DetailStatus(event.status.value),
        message=f"{event.event or 'event'}: {event.reason}",
    )


def queued_detail(key: str, message: str) -> SyncDetail:
    return SyncDetail(
        operation="download", file_key=key, status=DetailStatus.QUEUED, message=message
    )


def unchanged_detail(key: str) -> SyncDetail:
    return SyncDetail(
        operation="skip",
        file_key=key,
        status=DetailStatus.SKIPPED,
        message="Looked at; nothing had to be done",
    )


def _event_operation(event: KeyEvent) -> OperationName:
    """What the event suggests; what is done is decided by asking S3."""
    if event.status is EventStatus.REJECTED:
        return "reject"
    if event.status is EventStatus.IGNORED:
        return "skip"
    names = ("Removed", "Expiration", "Delete", "Deletion")
    return "delete" if any(name in event.event for name in names) else "download"


# Files and failures


def file_entry(fact: "FileFact") -> FileEntry:
    row = fact.row
    return FileEntry(
        key=fact.key,
        size=fact.size,
        last_modified=moment(fact.last_modified),
        etag=fact.etag,
        state=row.state.value if row else None,
        verdict=row.verdict.value if row and row.verdict else None,
        path=row.path if row else None,
    )


def failure_entry(failure: Failure) -> FailureEntry:
    return FailureEntry(
        key=failure.key,
        state=failure.state.value,
        reason=failure.reason,
        hint=failure.hint or "",
        attempts=failure.attempts,
        next_try=moment_or_none(failure.next_try),
        at=moment_or_none(failure.at),
    )
