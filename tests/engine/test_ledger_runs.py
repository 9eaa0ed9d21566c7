"""What every ledger does with runs: requests that join, holding, approving, dead leaders."""

from dataclasses import fields, replace

import pytest

from datasync.errors import RunMissing, RunNotHeld
from datasync.models.sync_models import Run, RunCounts, RunKind, RunStatus
from datasync.services.storage.ledger import Ledger, plans
from datasync.services.storage.ledger.tables import RUN_COUNTS

OVER = [
    RunStatus.SUCCESS,
    RunStatus.PARTIAL,
    RunStatus.FAILED,
    RunStatus.CANCELLED,
    RunStatus.INTERRUPTED,
]


def test_every_tally_has_a_column() -> None:
    assert RUN_COUNTS == tuple(field.name for field in fields(RunCounts))


def request(ledger: Ledger, prefix: str = "", kind: RunKind = RunKind.RECONCILE) -> Run:
    run, new = ledger.request_run(kind, prefix, 1.0, join=False)
    assert new
    return run


def running(ledger: Ledger, prefix: str = "") -> Run:
    return ledger.start_run(request(ledger, prefix).id, 2.0)


def held(ledger: Ledger, keys: int = 2) -> Run:
    run = running(ledger)
    ledger.plan_deletes(run.id, [(f"k{number}", "etag") for number in range(keys)])
    return ledger.finish_run(run.id, RunStatus.HELD, 3.0, error="too many deletes", hint="look")


class RunsContract:
    def test_a_request_is_a_queued_run(self, ledger: Ledger) -> None:
        run, new = ledger.request_run(RunKind.VERIFY, "a\x00é%", 1.5)
        assert new
        assert run == Run(run.id, RunKind.VERIFY, "a\x00é%", RunStatus.QUEUED, 1.5)
        assert ledger.run(run.id) == run
        assert ledger.next_run() == run

    @pytest.mark.parametrize(
        ("first", "second", "joins"),
        [
            ("", "", True),
            ("", "a/b", True),
            ("a/", "a/", True),
            ("a/", "a/b", True),
            ("a/", "a", False),
            ("a/", "b/", False),
            ("a/", "", False),
            ("%", "a", False),
            ("é", "\u00e9t\u00e9", True),
        ],
    )
    def test_a_request_joins_a_run_that_covers_it(
        self, ledger: Ledger, first: str, second: str, joins: bool
    ) -> None:
        run = request(ledger, first)
        joined, new = ledger.request_run(RunKind.RECONCILE, second, 2.0)
        assert (joined.id == run.id, new) == (joins, not joins)

    def test_a_request_joins_a_running_run_but_no_other_kind(self, ledger: Ledger) -> None:
        run = running(ledger)
        assert ledger.request_run(RunKind.RECONCILE, "a", 2.0) == (run, False)
        assert ledger.request_run(RunKind.VERIFY, "a", 2.0)[1]
        assert ledger.request_run(RunKind.RECONCILE, "a", 2.0, join=False)[1]

    def test_a_request_does_not_join_what_ends_or_ended(self, ledger: Ledger) -> None:
        stopping = running(ledger)
        ledger.cancel(stopping.id, 3.0)
        over = running(ledger)
        ledger.finish_run(over.id, RunStatus.SUCCESS, 3.0)
        held(ledger)
        assert ledger.request_run(RunKind.RECONCILE, "", 4.0)[1]

    def test_runs_are_done_in_the_order_of_their_requests(self, ledger: Ledger) -> None:
        assert ledger.next_run() is None
        waiting = held(ledger)
        first, second = request(ledger), request(ledger)
        assert ledger.next_run() == first
        ledger.start_run(first.id, 5.0)
        assert ledger.next_run() == second
        ledger.approve(waiting.id)
        approved = ledger.next_run()
        assert approved is not None and (approved.id, approved.approved) == (waiting.id, True)

    def test_a_run_goes_from_start_to_end(self, ledger: Ledger) -> None:
        run = request(ledger)
        started = ledger.start_run(run.id, 2.0)
        assert started == replace(run, status=RunStatus.RUNNING, started=2.0)
        ledger.save_counts(run.id, RunCounts(listed=5))
        assert ledger.run(run.id).counts == RunCounts(listed=5)
        counts = RunCounts(1, 2, 3, 4, 5, 6, 7, 8, 2**50, 2**51, 11)
        done = ledger.finish_run(
            run.id, RunStatus.PARTIAL, 9.0, counts=counts, error="2 keys\x00", hint="see failures"
        )
        assert done == replace(
            started,
            status=RunStatus.PARTIAL,
            finished=9.0,
            counts=counts,
            error="2 keys\\x00",
            hint="see failures",
        )

    def test_an_end_without_counts_keeps_them(self, ledger: Ledger) -> None:
        run = running(ledger)
        ledger.save_counts(run.id, RunCounts(listed=5))
        assert ledger.finish_run(run.id, RunStatus.FAILED, 3.0).counts.listed == 5

    def test_a_run_that_is_over_cannot_start(self, ledger: Ledger) -> None:
        run = request(ledger)
        ledger.cancel(run.id, 2.0)
        with pytest.raises(RunNotHeld):
            ledger.start_run(run.id, 3.0)
        with pytest.raises(RunNotHeld):
            ledger.start_run(held(ledger).id, 3.0)

    def test_unknown_runs_are_missing(self, ledger: Ledger) -> None:
        for ask in (
            lambda: ledger.run(404),
            lambda: ledger.start_run(404, 1.0),
            lambda: ledger.finish_run(404, RunStatus.SUCCESS, 1.0),
            lambda: ledger.save_counts(404, RunCounts()),
            lambda: ledger.approve(404),
            lambda: ledger.cancel(404, 1.0),
            lambda: ledger.plan_deletes(404, [("a", "e")]),
        ):
            with pytest.raises(RunMissing):
                ask()

    def test_runs_are_listed_newest_first(self, ledger: Ledger) -> None:
        ids = [request(ledger).id for _ in range(5)]
        assert [run.id for run in ledger.runs()] == ids[::-1]
        assert [run.id for run in ledger.runs(limit=2)] == ids[:2:-1]
        assert [run.id for run in ledger.runs(limit=2, before=ids[2])] == [ids[1], ids[0]]

    def test_the_held_runs_are_known_and_the_newest_of_them(self, ledger: Ledger) -> None:
        assert ledger.held_run() is None and ledger.held_runs() == []
        older, newest = held(ledger), held(ledger)
        request(ledger)
        assert ledger.held_run() == newest
        assert ledger.held_runs() == [newest, older]
        assert newest.error == "too many deletes" and newest.deletes_planned == 2

    def test_the_last_run_by_end_prefix_and_kind(self, ledger: Ledger) -> None:
        assert ledger.last_run() is None
        whole = ledger.finish_run(running(ledger).id, RunStatus.SUCCESS, 3.0)
        part = ledger.finish_run(running(ledger, "a/").id, RunStatus.PARTIAL, 4.0)
        check = request(ledger, kind=RunKind.VERIFY)
        assert ledger.last_run() == part
        assert ledger.last_run(finished=False) == check
        assert ledger.last_run(prefix="") == whole
        assert ledger.last_run(prefix="a/b") == part
        assert ledger.last_run(kinds=[RunKind.VERIFY]) is None
        assert ledger.last_run(finished=False, kinds=[RunKind.RECONCILE], prefix="b") == whole

    def test_approval_is_for_held_runs(self, ledger: Ledger) -> None:
        for run in (request(ledger), running(ledger)):
            with pytest.raises(RunNotHeld):
                ledger.approve(run.id)
        run = held(ledger)
        assert ledger.approve(run.id) == replace(run, approved=True)
        assert ledger.approve(run.id).approved
        assert ledger.start_run(run.id, 7.0).finished is None

    def test_a_run_that_is_held_again_needs_a_new_approval(self, ledger: Ledger) -> None:
        run = held(ledger)
        ledger.approve(run.id)
        ledger.start_run(run.id, 7.0)
        assert not ledger.finish_run(run.id, RunStatus.HELD, 8.0).approved
        assert ledger.next_run() is None

    def test_a_run_that_was_asked_to_stop_is_not_held(self, ledger: Ledger) -> None:
        run = running(ledger)
        ledger.plan_deletes(run.id, [("k", "etag")])
        ledger.cancel(run.id, 3.0)
        ended = ledger.finish_run(run.id, RunStatus.HELD, 4.0, error="too many deletes")
        assert (ended.status, ended.finished, ended.error) == (RunStatus.CANCELLED, 4.0, None)
        assert ledger.planned_deletes(run.id) == []

    @pytest.mark.parametrize("status", OVER)
    def test_what_is_over_has_no_plan_left(self, ledger: Ledger, status: RunStatus) -> None:
        run = running(ledger)
        ledger.plan_deletes(run.id, [("k", "etag")])
        assert ledger.finish_run(run.id, status, 4.0).deletes_planned == 1
        assert ledger.planned_deletes(run.id) == []

    @pytest.mark.parametrize("status", OVER)
    def test_what_is_over_is_neither_approved_nor_cancelled(
        self, ledger: Ledger, status: RunStatus
    ) -> None:
        run = ledger.finish_run(running(ledger).id, status, 3.0)
        with pytest.raises(RunNotHeld):
            ledger.approve(run.id)
        with pytest.raises(RunNotHeld):
            ledger.cancel(run.id, 4.0)
        assert ledger.run(run.id) == run

    def test_cancel_ends_what_waits_and_asks_what_runs(self, ledger: Ledger) -> None:
        queued, waiting, busy = request(ledger), held(ledger), running(ledger)
        for run in (queued, waiting):
            cancelled = ledger.cancel(run.id, 6.0)
            assert (cancelled.status, cancelled.finished) == (RunStatus.CANCELLED, 6.0)
        assert ledger.cancel(busy.id, 6.0) == replace(busy, cancel_requested=True)
        assert ledger.planned_deletes(waiting.id) == []
        assert ledger.next_run() is None

    def test_a_new_leader_ends_what_the_dead_one_left(self, ledger: Ledger) -> None:
        plain, stopping, waiting, queued = (
            running(ledger),
            running(ledger),
            held(ledger),
            request(ledger),
        )
        ledger.plan_deletes(plain.id, [("half", "a plan")])
        ledger.cancel(stopping.id, 3.0)
        ledger.approve(waiting.id)
        ledger.start_run(waiting.id, 4.0)
        assert ledger.interrupt_runs(9.0) == 3
        assert ledger.run(plain.id).status == RunStatus.INTERRUPTED
        assert ledger.run(plain.id).finished == 9.0
        assert ledger.planned_deletes(plain.id) == []
        assert ledger.run(stopping.id).status == RunStatus.CANCELLED
        again = ledger.next_run()
        assert again is not None and again.id == waiting.id and again.approved
        assert len(ledger.planned_deletes(waiting.id)) == 2
        assert ledger.run(queued.id) == queued
        assert ledger.interrupt_runs(10.0) == 0

    def test_a_plan_is_read_in_pages_and_planned_twice_counts_once(self, ledger: Ledger) -> None:
        run, other = running(ledger), running(ledger)
        rows = [(f"é\x00{number:04d}", f"etag{number}") for number in range(1_200)]
        ledger.plan_deletes(run.id, rows[:700])
        ledger.plan_deletes(run.id, rows[600:])
        ledger.plan_deletes(other.id, [("other", "e")])
        assert ledger.run(run.id).deletes_planned == 1_200
        first = ledger.planned_deletes(run.id)
        assert first == rows[:1_000]
        assert ledger.planned_deletes(run.id, after=first[-1][0]) == rows[1_000:]
        ledger.finish_run(run.id, RunStatus.SUCCESS, 5.0)
        assert ledger.planned_deletes(run.id) == []
        assert ledger.run(run.id).deletes_planned == 1_200
        assert ledger.planned_deletes(other.id) == [("other", "e")]
        ledger.plan_anew(other.id)
        assert ledger.planned_deletes(other.id) == []
        assert ledger.run(other.id).deletes_planned == 0

    def test_a_large_plan_is_dropped_in_pieces(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plans, "PIECE", 7)
        run = held(ledger, keys=21)
        other = held(ledger, keys=3)
        ledger.cancel(run.id, 4.0)
        assert ledger.planned_deletes(run.id) == []
        assert len(ledger.planned_deletes(other.id)) == 3
