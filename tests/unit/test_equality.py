"""The rule of `in_sync`, what makes a service degraded, and the runs of a ledger that decide it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.controllers.equality import (
    EventRule,
    MirrorFacts,
    ProofRule,
    concerns,
    in_sync,
    read_facts,
)
from datasync.models.figures import LedgerTotals
from datasync.models.sync_models import EventNote, Run, RunCounts, RunKind, RunStatus
from datasync.services.storage.ledger import Ledger, sqlite_url

TOTALS = LedgerTotals(
    objects=3,
    bytes=9,
    by_state={},
    pending=0,
    oldest_pending=None,
    failed=0,
)
DONE = Run(1, RunKind.RECONCILE, "", RunStatus.SUCCESS, requested=0.0)
RUNNING = replace(DONE, id=2, status=RunStatus.RUNNING, requested=90.0)
EQUAL = MirrorFacts(TOTALS, DONE)


def test_equality_is_proved_by_a_whole_successful_run_and_nothing_left() -> None:
    assert in_sync(EQUAL)


@pytest.mark.parametrize("status", [s for s in RunStatus if s is not RunStatus.SUCCESS])
def test_a_last_run_that_did_not_succeed_proves_nothing(status: RunStatus) -> None:
    assert not in_sync(replace(EQUAL, last_run=replace(DONE, status=status)))


def test_no_run_proves_nothing() -> None:
    assert not in_sync(replace(EQUAL, last_run=None))


@pytest.mark.parametrize("change", [{"pending": 1}, {"failed": 1}])
def test_pending_and_failed_keys_speak_against_it(change: dict[str, int]) -> None:
    assert not in_sync(replace(EQUAL, totals=replace(TOTALS, **change)))  # type: ignore[arg-type]


def test_a_held_plan_speaks_against_it() -> None:
    held = replace(DONE, status=RunStatus.HELD)
    assert not in_sync(replace(EQUAL, held=held))


@pytest.mark.parametrize(
    "counts, equal",
    [
        (RunCounts(listed=9), True),
        (RunCounts(planned=2, downloaded=1), False),
        (RunCounts(planned=2, downloaded=1, deleted=1), True),
        (RunCounts(planned=5, downloaded=1, deleted=1, adopted=1, skipped=1, failed=1), True),
    ],
)
def test_a_running_run_speaks_against_it_while_it_has_work(counts: RunCounts, equal: bool) -> None:
    assert in_sync(replace(EQUAL, since=(replace(RUNNING, counts=counts),))) is equal


def test_a_queued_run_that_nobody_takes_is_a_concern() -> None:
    queued = replace(RUNNING, status=RunStatus.QUEUED, requested=100.0)
    waiting = replace(EQUAL, since=(queued,))
    assert concerns(waiting, now=110.0) == []
    assert "no process runs the engine" in concerns(waiting, now=120.0)[0]
    assert concerns(replace(EQUAL, since=(queued, RUNNING)), now=120.0) == []


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.PARTIAL])
def test_a_bad_last_run_is_a_concern_with_its_reason(status: RunStatus) -> None:
    bad = replace(DONE, status=status, error="no listing")
    assert "no listing" in concerns(replace(EQUAL, last_run=bad), now=0.0)[0]


# What runs since the proof know


FOUND = RunCounts(listed=9, planned=2, downloaded=1)
CUT = replace(RUNNING, status=RunStatus.CANCELLED, prefix="a/", counts=FOUND)
CUT_SHORT = [RunStatus.CANCELLED, RunStatus.INTERRUPTED, RunStatus.FAILED]


def test_deletes_that_a_running_run_has_planned_speak_against_it() -> None:
    running = replace(RUNNING, deletes_planned=1, counts=RunCounts(planned=2, downloaded=2))
    assert not in_sync(replace(EQUAL, since=(running,)))


@pytest.mark.parametrize("status", CUT_SHORT)
def test_a_run_of_a_part_that_ended_before_its_work_speaks_against_it(status: RunStatus) -> None:
    assert not in_sync(replace(EQUAL, since=(replace(CUT, status=status),)))
    rejected = replace(CUT, status=status, counts=RunCounts(), deletes_planned=30)
    assert not in_sync(replace(EQUAL, since=(rejected,)))
    idle = replace(CUT, status=status, counts=RunCounts(listed=9))
    assert in_sync(replace(EQUAL, since=(idle,)))


@pytest.mark.parametrize(
    "later, status, equal",
    [
        ("a/", RunStatus.SUCCESS, True),
        ("", RunStatus.SUCCESS, True),
        ("a", RunStatus.PARTIAL, True),
        ("a/b/", RunStatus.SUCCESS, False),
        ("b/", RunStatus.SUCCESS, False),
        ("a/", RunStatus.QUEUED, False),
        ("a/", RunStatus.CANCELLED, False),
    ],
)
def test_only_a_later_run_over_the_same_keys_makes_up_for_it(
    later: str, status: RunStatus, equal: bool
) -> None:
    newer = replace(DONE, id=3, prefix=later, status=status)
    assert in_sync(replace(EQUAL, since=(newer, CUT))) is equal
    assert not in_sync(replace(EQUAL, since=(CUT, newer)))


# How long a proof counts


RULE = ProofRule(interval_seconds=3600.0)
PROOF = replace(DONE, requested=0.0, started=1.0, finished=1000.0)


@pytest.mark.parametrize("age, outdated", [(-500.0, False), (7200.0, False), (7300.0, True)])
def test_a_proof_counts_for_two_intervals(age: float, outdated: bool) -> None:
    assert RULE.is_outdated(PROOF, 1000.0 + age) is outdated


def test_an_approved_run_proves_what_was_there_when_it_was_asked_for() -> None:
    approved = replace(PROOF, approved=True, started=9000.0, finished=9001.0)
    assert RULE.is_outdated(approved, 9002.0)
    assert not RULE.is_outdated(approved, 7000.0)


def test_an_outdated_proof_proves_nothing_and_is_a_concern_where_the_next_was_due() -> None:
    assert not in_sync(replace(EQUAL, last_run=PROOF, outdated=True))
    assert concerns(replace(EQUAL, last_run=PROOF, outdated=True), now=8200.0) == []
    overdue = replace(EQUAL, last_run=PROOF, complete=PROOF, outdated=True, overdue=True)
    assert concerns(overdue, now=8200.0) == ["the last complete reconciliation ended 2.0 hours ago"]


# Reading the ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger.open(sqlite_url(tmp_path / "ledger.db"))
    yield made
    made.close()


def run(ledger: Ledger, status: RunStatus, prefix: str = "", at: float = 0.0) -> int:
    asked, _ = ledger.request_run(RunKind.RECONCILE, prefix, at, join=False)
    if status is not RunStatus.QUEUED:
        ledger.start_run(asked.id, at)
    if status not in (RunStatus.QUEUED, RunStatus.RUNNING):
        ledger.finish_run(asked.id, status, at)
    return asked.id


def facts(ledger: Ledger, scope: str = "", now: float = 10.0) -> MirrorFacts:
    return read_facts(ledger, scope, RULE, clock=lambda: now)


def test_a_run_is_found_behind_any_number_of_later_ones(ledger: Ledger) -> None:
    proof = run(ledger, RunStatus.SUCCESS)
    working = run(ledger, RunStatus.RUNNING, "a/")
    ledger.save_counts(working, FOUND)
    waiting = [run(ledger, RunStatus.QUEUED, f"b{number}/") for number in range(60)]
    found = facts(ledger)
    assert found.last_run is not None and found.last_run.id == proof
    assert [each.id for each in found.unfinished] == [*reversed(waiting), working]
    assert not in_sync(found)


def test_comparisons_that_are_cut_short_again_and_again_hide_no_delay(ledger: Ledger) -> None:
    run(ledger, RunStatus.SUCCESS)
    for at in (9_000.0, 12_000.0, 18_000.0):
        run(ledger, RunStatus.INTERRUPTED, at=at)
    found = facts(ledger, now=18_001.0)
    assert (found.outdated, found.overdue) == (False, True)
    assert "the last complete reconciliation ended 5.0 hours ago" in concerns(found, 18_001.0)
    run(ledger, RunStatus.PARTIAL, at=18_002.0)
    assert not facts(ledger, now=18_003.0).overdue


def test_only_reconciliations_of_everything_prove(ledger: Ledger) -> None:
    run(ledger, RunStatus.SUCCESS, "in/a/")
    assert facts(ledger, "in/").last_run is None
    run(ledger, RunStatus.SUCCESS, "in/")
    assert in_sync(facts(ledger, "in/"))
    assert not in_sync(facts(ledger, ""))
    verified, _ = ledger.request_run(RunKind.VERIFY, "", 0.0)
    ledger.finish_run(verified.id, RunStatus.SUCCESS, 0.0)
    assert not in_sync(facts(ledger, ""))


def test_a_run_that_was_cancelled_before_it_began_changes_nothing(ledger: Ledger) -> None:
    run(ledger, RunStatus.SUCCESS)
    queued = run(ledger, RunStatus.QUEUED)
    ledger.cancel(queued, 1.0)
    assert in_sync(facts(ledger))
    run(ledger, RunStatus.CANCELLED)
    assert not in_sync(facts(ledger))


def test_age_is_told_from_the_clock(ledger: Ledger) -> None:
    run(ledger, RunStatus.SUCCESS)
    assert in_sync(facts(ledger, now=7200.0))
    late = facts(ledger, now=7300.0)
    assert (in_sync(late), late.overdue) == (False, True)
    resting = ProofRule(3600.0, scheduled=False)
    unscheduled = read_facts(ledger, "", resting, clock=lambda: 7300.0)
    assert (in_sync(unscheduled), unscheduled.overdue) == (False, False)


# Events that are late, or that do not come


def test_a_key_that_has_waited_too_long_is_a_concern() -> None:
    waiting = replace(TOTALS, pending=1, oldest_pending=100.0)
    facts_ = replace(EQUAL, totals=waiting, lag_limit_seconds=300.0)
    assert concerns(facts_, now=399.0) == []
    assert "LAG_LIMIT_SECONDS (300)" in concerns(facts_, now=401.0)[0]
    assert concerns(replace(facts_, lag_limit_seconds=float("inf")), now=9e9) == []


EXPECTED = EventRule(expected=True)


def drifting(ledger: Ledger, *drifts: int, begun: float = 1000.0) -> None:
    """Complete reconciliations that found so much drift each."""
    for drift in drifts:
        asked, _ = ledger.request_run(RunKind.RECONCILE, "", begun, join=False)
        started = ledger.start_run(asked.id, begun)
        counts = RunCounts(downloaded=drift, planned=drift, drift=drift)
        ledger.finish_run(started.id, RunStatus.SUCCESS, begun + 1.0, counts=counts)


def told(ledger: Ledger, at: float) -> None:
    ledger.journal([EventNote("a", "put", at)], {})


def broken(ledger: Ledger, events: EventRule = EXPECTED, now: float = 9000.0) -> list[str]:
    found = read_facts(ledger, "", RULE, events, clock=lambda: now)
    return [text for text in concerns(found, now) if "notifications look broken" in text]


def test_drift_without_any_event_for_long_looks_broken(ledger: Ledger) -> None:
    drifting(ledger, 3, 4)
    assert "found 7 changes" in broken(ledger)[0] and "ever" in broken(ledger)[0]
    told(ledger, 900.0)
    assert "for 2.2 hours" in broken(ledger)[0]


def test_one_run_alone_may_have_met_events_on_their_way(ledger: Ledger) -> None:
    drifting(ledger, 0, 3)
    assert broken(ledger) == []


def test_an_event_since_then_says_that_they_come(ledger: Ledger) -> None:
    drifting(ledger, 3, 4)
    told(ledger, 1500.0)
    assert broken(ledger) == []


def test_a_short_silence_is_none(ledger: Ledger) -> None:
    told(ledger, 900.0)
    drifting(ledger, 3, 4)
    assert broken(ledger, now=1400.0) == []
    assert broken(ledger, now=1600.0) != []


def test_a_run_without_drift_ends_the_row(ledger: Ledger) -> None:
    drifting(ledger, 3, 4, 0)
    assert broken(ledger) == []


def test_who_has_done_without_events_for_a_month_is_not_told_for_ever(ledger: Ledger) -> None:
    told(ledger, 900.0)
    drifting(ledger, 3, 4)
    month = 900.0 + 30 * 86400.0
    assert broken(ledger, EventRule(), now=month - 1) != []
    assert broken(ledger, EventRule(), now=month) == []
    assert broken(ledger, EXPECTED, now=month) != []


def test_who_never_had_events_is_not_told_that_they_are_missing(ledger: Ledger) -> None:
    drifting(ledger, 3, 4)
    assert broken(ledger, EventRule()) == []
    told(ledger, 900.0)
    assert broken(ledger, EventRule()) != []
