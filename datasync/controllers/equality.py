"""The rule of `in_sync`: what proves the mirror equal to the bucket, and what speaks against it.

Reads the ledger and changes nothing. Knows no HTTP, disk or bucket.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from datasync.controllers.flood import Deletes, flood_concern, recent_deletes
from datasync.controllers.tallies import UNFINISHED, counted, work_done
from datasync.models.figures import LedgerTotals
from datasync.models.sync_models import Run, RunKind, RunStatus, SyncOptions
from datasync.services.engine.planner import is_plan_outdated

if TYPE_CHECKING:
    from datasync.services.storage.ledger import Ledger

UNTAKEN_SECONDS = 15.0  # a leader takes a queued run at once
RUNS_AT_ONCE = 50
PROOF_SLACK_SECONDS = 60.0
# Notifications look broken after so many runs with drift, and so long without any event: one run
# alone may have met changes whose events were on their way.
UNTOLD_RUNS = 2
QUIET_SECONDS = 600.0
# Who has had no event for so long, and names no source of them, does without.
GIVEN_UP_SECONDS = 30 * 86400.0
# The bucket was compared to its end, and whatever differed was tried.
_COMPLETE = frozenset({RunStatus.SUCCESS, RunStatus.PARTIAL, RunStatus.HELD})
_CUT_SHORT = frozenset(
    {RunStatus.RUNNING, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED}
)


@dataclass(frozen=True, slots=True)
class ProofRule:
    """How long a complete reconciliation counts, and whether the next one comes by itself."""

    interval_seconds: float
    scheduled: bool = True

    def is_outdated(self, proof: Run, now: float) -> bool:
        """Whether a run is too old to speak for now: two intervals without another one.

        An approved run compared the bucket when it was asked for, however late it was approved.
        """
        proved = proof.requested if proof.approved else proof.finished
        limit = 2 * self.interval_seconds + PROOF_SLACK_SECONDS
        return proved is None or now - proved > limit


@dataclass(frozen=True, slots=True)
class EventRule:
    """When events are late, and whether they are to be expected though none has come yet."""

    lag_limit_seconds: float = float("inf")
    expected: bool = False


NO_EVENTS = EventRule()


@dataclass(frozen=True, slots=True)
class MirrorFacts:
    """What the ledger says that bears on equality.

    `last_run` is the latest finished reconciliation of the whole scope, `since` are all runs
    asked for after it, newest first. `outdated` says that it is too old to speak for now.
    `complete` is the latest one that came to its end, `overdue` that there should have been
    another one since. `untold` are the latest complete reconciliations in a row, newest first,
    that found drift and began after the last event. `deletes` are those of the last hour that
    nobody approved.
    """

    totals: LedgerTotals
    last_run: Run | None
    complete: Run | None = None
    since: tuple[Run, ...] = ()
    held: Run | None = None
    outdated: bool = False
    overdue: bool = False
    untold: tuple[Run, ...] = ()
    lag_limit_seconds: float = float("inf")
    deletes: Deletes = Deletes()

    @property
    def unfinished(self) -> tuple[Run, ...]:
        """Queued and running runs, newest first."""
        return tuple(run for run in self.since if run.status in UNFINISHED)


class Doubt(StrEnum):
    """What speaks against equality, in one word for figures and plots."""

    NO_RUN = "no_run"  # the whole scope was never compared to its end
    LAST_RUN = "last_run"  # the last comparison did not end `success`
    OUTDATED = "outdated"  # it is too old to speak for now
    PENDING = "pending"
    FAILED = "failed"
    WORK_LEFT = "work_left"  # a run since then knows of work that is not done
    HELD = "held"


def in_sync(facts: MirrorFacts) -> bool:
    """Whether the mirror is proved equal to the bucket.

    The last finished reconciliation of the whole scope ended `success` and is not outdated, no
    key is dirty, failed or stale, no run since knows of work that is not done, and no plan is
    held.
    """
    return not doubts(facts)


def doubts(facts: MirrorFacts) -> frozenset[Doubt]:
    """Everything that speaks against equality now."""
    last, totals = facts.last_run, facts.totals
    speaks = (
        (Doubt.NO_RUN, last is None),
        (Doubt.LAST_RUN, last is not None and last.status is not RunStatus.SUCCESS),
        (Doubt.OUTDATED, facts.outdated),
        (Doubt.PENDING, totals.pending > 0),
        (Doubt.FAILED, totals.failed > 0),
        (Doubt.WORK_LEFT, _knows_of_work(facts.since)),
        (Doubt.HELD, facts.held is not None),
    )
    return frozenset(doubt for doubt, against in speaks if against)


def _knows_of_work(since: tuple[Run, ...]) -> bool:
    """Whether a run found differences that neither it nor a later one over them dealt with."""
    complete: list[str] = []
    for run in since:
        if run.status in _COMPLETE:
            complete.append(run.prefix)
        elif _has_work_left(run) and not run.prefix.startswith(tuple(complete)):
            return True
    return False


def _has_work_left(run: Run) -> bool:
    # Planned deletes are among the planned keys only once they are being confirmed.
    planned = run.deletes_planned > 0 or run.counts.planned > work_done(run.counts)
    return run.status in _CUT_SHORT and planned


def read_facts(
    ledger: "Ledger",
    scope: str,
    rule: ProofRule,
    events: EventRule = NO_EVENTS,
    clock: Callable[[], float] = time.time,
    options: SyncOptions | None = None,
) -> MirrorFacts:
    """The facts of now; `options` has the limits of deletes. Raises: LedgerError."""
    ledger.require_claim()  # what another directory proved says nothing of this one
    last, since = _recent_runs(ledger, scope)
    outdated = last is not None and rule.is_outdated(last, clock())
    complete = last
    if last is not None and last.status not in _COMPLETE:  # cut short, perhaps again and again
        complete = ledger.last_run(prefix=scope, kinds=[RunKind.RECONCILE], statuses=_COMPLETE)
    totals = ledger.totals()
    heard = totals.last_event is not None and clock() - totals.last_event < GIVEN_UP_SECONDS
    awaited = events.expected or heard
    # Asked for only while the latest run found any: else nothing can be untold.
    drifting = last is not None and last.counts.drift > 0
    return MirrorFacts(
        totals=totals,
        last_run=last,
        complete=complete,
        since=tuple(since),
        held=ledger.held_run(),
        outdated=outdated,
        overdue=rule.scheduled and complete is not None and rule.is_outdated(complete, clock()),
        untold=_untold(ledger, scope, totals.last_event) if awaited and drifting else (),
        lag_limit_seconds=events.lag_limit_seconds,
        deletes=recent_deletes(totals, options, clock()) if options else Deletes(),
    )


def _untold(ledger: "Ledger", scope: str, last_event: float | None) -> tuple[Run, ...]:
    """The latest complete reconciliations in a row that found drift, all since the last event."""
    found: list[Run] = []
    for run in ledger.runs(RUNS_AT_ONCE):
        if not _compared_everything(run, scope) or run.status not in _COMPLETE:
            continue
        if run.counts.drift == 0 or (run.started or 0.0) <= (last_event or 0.0):
            break
        found.append(run)
    return tuple(found)


def _recent_runs(ledger: "Ledger", scope: str) -> tuple[Run | None, list[Run]]:
    """The latest finished reconciliation of the whole scope, and the runs since, newest first."""
    since: list[Run] = []
    before: int | None = None
    while page := ledger.runs(RUNS_AT_ONCE, before):
        for run in page:
            if _compared_everything(run, scope):
                return run, since
            since.append(run)
        before = page[-1].id
    return None, since


def _compared_everything(run: Run, scope: str) -> bool:
    """Whether this is a finished reconciliation of the whole scope, however it ended."""
    never_began = run.status is RunStatus.CANCELLED and run.started is None
    return (
        run.kind is RunKind.RECONCILE
        and run.status not in UNFINISHED
        and scope.startswith(run.prefix)
        and not never_began
    )


def concerns(facts: MirrorFacts, now: float) -> list[str]:
    """What is not well although the service works, each in a sentence without its full stop."""
    found: list[str] = []
    if facts.held is not None:
        found.append(_held_concern(facts.held, now))
    if facts.totals.failed:
        found.append(f"{counted(facts.totals.failed, 'key')} failed, see /sync/failures")
    if facts.deletes.flood:
        found.append(flood_concern(facts.deletes))
    last = facts.last_run
    if last is not None and last.status in (RunStatus.FAILED, RunStatus.PARTIAL):
        found.append(f"the last run ended {last.status.value}: {last.error or 'see its failures'}")
    if facts.overdue and facts.complete is not None and facts.complete.finished is not None:
        hours = (now - facts.complete.finished) / 3600
        found.append(f"the last complete reconciliation ended {hours:.1f} hours ago")
    if nobody_leads(facts, now):
        found.append("no process runs the engine: a run is queued and not taken")
    return found + _event_concerns(facts, now)


def _held_concern(run: Run, now: float) -> str:
    if is_plan_outdated(run, now):
        return f"run {run.id} is held, and its plan too old: a new run makes another"
    return f"run {run.id} is held and waits for approval"


def _event_concerns(facts: MirrorFacts, now: float) -> list[str]:
    found: list[str] = []
    oldest = facts.totals.oldest_pending
    if oldest is not None and now - oldest > facts.lag_limit_seconds:
        found.append(
            f"the oldest pending key has waited for {now - oldest:.0f} seconds, "
            f"longer than LAG_LIMIT_SECONDS ({facts.lag_limit_seconds:g})"
        )
    if notifications_look_broken(facts, now):
        last = facts.totals.last_event
        changes = sum(run.counts.drift for run in facts.untold)
        since = "ever" if last is None else f"for {(now - last) / 3600:.1f} hours"
        found.append(
            f"notifications look broken: the last {len(facts.untold)} reconciliations found "
            f"{changes} changes that no event told of, and no event has come {since}; "
            "'datasync doctor' looks for the reason"
        )
    return found


def notifications_look_broken(facts: MirrorFacts, now: float) -> bool:
    """Whether runs keep finding what no event told of, and no event has come for long."""
    last = facts.totals.last_event
    quiet = last is None or now - last > QUIET_SECONDS
    return quiet and len(facts.untold) >= UNTOLD_RUNS


def nobody_leads(facts: MirrorFacts, now: float) -> bool:
    """Whether a run is queued that no process takes."""
    unfinished = facts.unfinished
    if any(run.status is RunStatus.RUNNING for run in unfinished):
        return False
    return any(now - run.requested > UNTAKEN_SECONDS for run in unfinished)
