"""The rule of `in_sync`, what makes a service degraded, and probes that hang."""

import threading
import time
from dataclasses import replace

import pytest

from datasync.controllers.health import MirrorFacts, Probe, answer_within, concerns, in_sync
from datasync.errors import NetworkFailure
from datasync.models.sync_models import LedgerTotals, Run, RunCounts, RunKind, RunStatus

TOTALS = LedgerTotals(
    objects=3,
    bytes=9,
    by_state={},
    pending=0,
    oldest_pending=None,
    failed=0,
    events={},
    lag_p50=None,
    lag_p99=None,
)
DONE = Run(1, RunKind.RECONCILE, "", RunStatus.SUCCESS, requested=0.0)
RUNNING = replace(DONE, id=2, status=RunStatus.RUNNING, requested=90.0)
EQUAL = MirrorFacts(TOTALS, DONE, (), None)


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
    assert in_sync(replace(EQUAL, unfinished=(replace(RUNNING, counts=counts),))) is equal


def test_a_queued_run_that_nobody_takes_is_a_concern() -> None:
    queued = replace(RUNNING, status=RunStatus.QUEUED, requested=100.0)
    waiting = replace(EQUAL, unfinished=(queued,))
    assert concerns(waiting, now=110.0) == []
    assert "no process runs the engine" in concerns(waiting, now=120.0)[0]
    assert concerns(replace(EQUAL, unfinished=(queued, RUNNING)), now=120.0) == []


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.PARTIAL])
def test_a_bad_last_run_is_a_concern_with_its_reason(status: RunStatus) -> None:
    bad = replace(DONE, status=status, error="no listing")
    assert "no listing" in concerns(replace(EQUAL, last_run=bad), now=0.0)[0]


def test_a_probe_shares_one_thread_among_all_who_wait() -> None:
    gate, asked = threading.Event(), []

    def question() -> None:
        asked.append(threading.current_thread())
        gate.wait(10)

    probe = Probe("x", question)
    answers = [probe.begin() for _ in range(5)]
    assert len({id(answer) for answer in answers}) == 1
    assert answer_within(answers[0], time.monotonic()).problem == "no answer in time"
    gate.set()
    assert answer_within(answers[0], time.monotonic() + 10).problem is None
    assert len(asked) == 1


def test_a_probe_keeps_its_answer_for_a_while_only() -> None:
    now, asked = [0.0], [0]

    def question() -> int:
        asked[0] += 1
        return asked[0]

    probe = Probe("x", question, fresh_seconds=5.0, clock=lambda: now[0])

    def value() -> int | None:
        return answer_within(probe.begin(), time.monotonic() + 10).value

    assert (value(), value()) == (1, 1)
    now[0] = 4.9
    assert value() == 1
    now[0] = 5.1
    assert value() == 2


def test_a_probe_tells_the_problem_and_no_details_of_surprises() -> None:
    def refuse() -> None:
        raise NetworkFailure("no route")

    def explode() -> None:
        raise RuntimeError("secret")

    told = answer_within(Probe("a", refuse).begin(), time.monotonic() + 10).problem
    assert told is not None and told.startswith("no route")
    told = answer_within(Probe("b", explode).begin(), time.monotonic() + 10).problem
    assert told == "unexpected RuntimeError"
