"""What every ledger remembers of what was done: history, failures, totals, and their bounds."""

import math
from dataclasses import replace

import pytest

from datasync.models.figures import LedgerTotals, Percentiles
from datasync.models.sync_models import (
    EventNote,
    Failure,
    Operation,
    Outcome,
    OutcomeStatus,
    RunStatus,
    Settlement,
    State,
    Verdict,
)
from datasync.services.storage.ledger import Ledger, measured
from datasync.services.storage.ledger.figures import FULL
from datasync.services.storage.ledger.outcomes import PRUNE_ROWS
from tests.engine.test_ledger_dirty import defer
from tests.engine.test_ledger_objects import put, row
from tests.engine.test_ledger_runs import held, request, running

SUCCESS, FAILED, SKIPPED = OutcomeStatus.SUCCESS, OutcomeStatus.FAILED, OutcomeStatus.SKIPPED


def outcome(
    key: str, status: OutcomeStatus = SUCCESS, run_id: int | None = None, at: float = 1.0
) -> Outcome:
    return Outcome(key, Operation.DOWNLOAD, status, f"{key}: {status}", at, run_id)


def record(ledger: Ledger, *outcomes: Outcome) -> None:
    ledger.settle(Settlement(outcomes=outcomes))


def keys(outcomes: list[Outcome]) -> str:
    return "".join(outcome.key for outcome in outcomes)


class OutcomesContract:
    def test_an_outcome_comes_back_as_it_went_in(self, ledger: Ledger) -> None:
        full = Outcome(
            key="a\x00é",
            operation=Operation.ADOPT,
            status=FAILED,
            message="it is not the same",
            at=1.25,
            run_id=7,
            bytes=2**50,
            seconds=0.125,
            verdict=Verdict.SHA256,
            error="ChecksumMismatch",
            hint="wait",
            lag_seconds=0.5,
        )
        record(ledger, full, outcome("b"))
        assert ledger.outcomes() == [full, outcome("b")]
        assert ledger.outcomes(failures_first=False) == [outcome("b"), full]

    def test_text_that_a_database_refuses_is_escaped(self, ledger: Ledger) -> None:
        record(ledger, replace(outcome("a"), message="a\x00b\ud800", hint="\udcff"))
        (found,) = ledger.outcomes()
        assert (found.message, found.hint) == ("a\\x00b\\ud800", "\\udcff")

    def test_failures_come_first_then_the_newest(self, ledger: Ledger) -> None:
        statuses = {"a": FAILED, "b": SUCCESS, "c": SKIPPED, "d": FAILED, "e": SUCCESS}
        record(ledger, *(outcome(key, status) for key, status in statuses.items()))
        assert keys(ledger.outcomes()) == "daecb"
        assert keys(ledger.outcomes(limit=3)) == "dae"
        assert keys(ledger.outcomes(limit=1)) == "d"
        assert keys(ledger.outcomes(failures_first=False, limit=2)) == "ed"

    def test_outcomes_are_those_of_a_run_or_of_a_key(self, ledger: Ledger) -> None:
        record(ledger, outcome("a", run_id=1), outcome("b", FAILED, 2), outcome("a", run_id=2))
        record(ledger, outcome("a"))
        assert keys(ledger.outcomes(run_id=2)) == "ba"
        assert [found.run_id for found in ledger.outcomes(key="a")] == [None, 2, 1]
        assert keys(ledger.outcomes(run_id=1, key="b")) == ""

    def test_the_latest_outcome_of_many_keys(self, ledger: Ledger) -> None:
        names = [f"k{number}" for number in range(1_200)]
        record(ledger, *(outcome(name, FAILED, at=1.0) for name in names))
        record(ledger, *(outcome(name, at=2.0) for name in reversed(names[:700])))
        found = ledger.latest_outcomes([*names, "never"])
        assert {name: told.at for name, told in found.items()} == {
            name: 2.0 if number < 700 else 1.0 for number, name in enumerate(names)
        }
        assert found["k0"] == outcome("k0", at=2.0)

    def test_failures_tell_what_is_wrong_and_what_comes(self, ledger: Ledger) -> None:
        put(ledger, row("fine"), row("cold", State.ARCHIVED))
        put(ledger, replace(row("grown", State.STALE), reason="over the limit", synced_at=3.0))
        put(ledger, replace(row("bad", State.REJECTED), reason="not UTF-8"))
        ledger.mark({"slow": "put", "fine": "put", "waiting": "put"}, 2.0)
        defer(ledger, "slow", 60.0, "timed out")
        defer(ledger, "fine", 70.0, "reset")
        record(ledger, replace(outcome("slow", FAILED, at=4.0), hint="older"))
        record(ledger, replace(outcome("slow", FAILED, at=5.0), hint="check the network"))
        record(ledger, outcome("slow", at=6.0))
        assert ledger.failures() == [
            Failure("bad", State.REJECTED, "not UTF-8"),
            Failure("fine", State.SYNCED, "reset", None, 1, 70.0, 2.0),
            Failure("grown", State.STALE, "over the limit", at=3.0),
            Failure("slow", State.FAILED, "timed out", "check the network", 1, 60.0, 5.0),
        ]

    def test_failures_are_paged_by_key_and_prefix(self, ledger: Ledger) -> None:
        put(ledger, *(row(f"r/{number:03d}", State.FAILED) for number in range(0, 60, 2)))
        ledger.mark({f"r/{number:03d}": "put" for number in range(1, 60, 2)}, 1.0)
        for number in range(1, 60, 2):
            defer(ledger, f"r/{number:03d}", 9.0)
        put(ledger, row("s", State.FAILED))
        seen: list[str] = []
        while page := ledger.failures("r/", seen[-1] if seen else "", limit=7):
            seen += [failure.key for failure in page]
        assert seen == [f"r/{number:03d}" for number in range(60)]
        assert len(ledger.failures()) == 61

    def test_an_empty_ledger_has_empty_totals(self, ledger: Ledger) -> None:
        assert ledger.totals() == LedgerTotals(0, 0, {}, 0, None, 0)
        events = ledger.event_totals()
        assert (events.by_status, events.duplicates) == ({}, 0)
        assert events.lag == events.event_lag == events.transit == Percentiles()
        assert not any(each.count for each in events.histograms.values())

    def test_pending_is_counted_from_the_oldest_mark(self, ledger: Ledger) -> None:
        ledger.mark({"b": "put"}, 20.0)
        ledger.mark({"a": "put"}, 10.0)
        ledger.mark({"a": "put"}, 30.0)
        totals = ledger.totals()
        assert (totals.pending, totals.oldest_pending, totals.failed) == (2, 10.0, 0)

    def test_a_key_that_fails_in_two_ways_counts_once(self, ledger: Ledger) -> None:
        put(ledger, row("a", State.FAILED), row("b", State.REJECTED), row("c"))
        ledger.mark({"a": "put", "b": "put", "c": "put"}, 1.0)
        for key in "abc":
            defer(ledger, key, 9.0)
        assert ledger.totals().failed == 3

    def test_lag_is_that_of_recent_event_outcomes(self, ledger: Ledger) -> None:
        record(ledger, *(replace(outcome("old"), lag_seconds=1e6) for _ in range(10)))
        lags = [replace(outcome("k"), lag_seconds=float(lag)) for lag in range(1, 1_001)]
        record(ledger, *lags, *(outcome("k", run_id=1) for _ in range(2_000)))
        assert ledger.event_totals().lag == Percentiles(500.0, 900.0, 990.0)

    def test_the_way_of_an_event_is_measured_in_its_parts(self, ledger: Ledger) -> None:
        times = replace(outcome("k"), lag_seconds=0.2, event_lag_seconds=1.7)
        record(ledger, times, replace(outcome("old sender"), lag_seconds=0.4))
        ledger.journal([], measured("journal", [0.004, 0.02, 7200.0]))
        events = ledger.event_totals()
        assert events.transit.p50 == pytest.approx(1.5)
        assert (events.lag.p99, events.event_lag.p99) == (0.4, 1.7)
        lag, journal = events.histograms["lag"], events.histograms["journal"]
        assert lag.count == 2 and lag.total == pytest.approx(0.6)
        assert dict(lag.buckets)[0.25] == 1 and dict(lag.buckets)[0.5] == 2
        assert [count for bound, count in journal.buckets if bound in (0.005, 0.025, 3600.0)] == [
            1,
            2,
            2,
        ]
        assert journal.buckets[-1] == (math.inf, 3)

    def test_no_delay_is_too_long_for_the_figures(self, ledger: Ledger) -> None:
        since_year_one = replace(outcome("k"), lag_seconds=6.4e10, event_lag_seconds=1e300)
        for _ in range(2):
            record(ledger, *[since_year_one] * 300)
            ledger.journal([], measured("journal", [6.4e10] * 300))
        histograms = ledger.event_totals().histograms
        assert [histograms[name].count for name in ("lag", "event_lag", "journal")] == [600] * 3
        assert ledger.outcomes(limit=1) == [since_year_one]

    def test_a_figure_that_is_full_stays_full_and_fails_nothing(self, ledger: Ledger) -> None:
        for _ in range(4):
            ledger.journal([EventNote("a", "put", 1.0)], {"event.queued": 2**62})
        assert ledger.event_totals().by_status["queued"] == FULL
        assert set(ledger.dirty(["a"])) == {"a"}

    def test_history_is_pruned_to_its_newest(self, ledger: Ledger) -> None:
        many = PRUNE_ROWS + 50
        record(ledger, *(outcome("k", at=float(number)) for number in range(many)))
        ledger.prune(1.0, keep_outcomes=many)
        assert len(ledger.outcomes(limit=2 * many)) == many
        ledger.prune(1.0, keep_outcomes=7)
        found = ledger.outcomes(limit=2 * many)
        assert [found.at for found in found] == [float(many - 1 - number) for number in range(7)]
        ledger.prune(1.0, keep_outcomes=0)
        assert ledger.outcomes() == []
        record(ledger, outcome("new"))
        assert keys(ledger.outcomes()) == "new"

    def test_runs_are_pruned_when_they_are_old_and_over(self, ledger: Ledger) -> None:
        old = ledger.finish_run(running(ledger).id, RunStatus.SUCCESS, 3.0)
        waiting, queued, busy = held(ledger), request(ledger), running(ledger)
        recent = ledger.finish_run(running(ledger).id, RunStatus.SUCCESS, 9_000.0)
        kept = ledger.finish_run(running(ledger).id, RunStatus.SUCCESS, 3.0)
        ledger.plan_deletes(old.id, [("a", "e")])
        ledger.prune(10_000.0, keep_runs=1)
        left = [run.id for run in ledger.runs()]
        assert left == [kept.id, recent.id, busy.id, queued.id, waiting.id]
        assert ledger.planned_deletes(old.id) == []
        assert len(ledger.planned_deletes(waiting.id)) == 2
        ledger.prune(20_000.0, keep_runs=0)
        assert [run.id for run in ledger.runs()] == [busy.id, queued.id, waiting.id]
        assert request(ledger).id > kept.id

    def test_pruning_ends_early_between_two_pieces(self, ledger: Ledger) -> None:
        many = 2 * PRUNE_ROWS + 50
        record(ledger, *(outcome("k") for _ in range(many)))
        ledger.finish_run(running(ledger).id, RunStatus.SUCCESS, 3.0)
        looks = iter([False, True, True])
        ledger.prune(20_000.0, keep_outcomes=0, keep_runs=0, stopped=lambda: next(looks))
        assert len(ledger.outcomes(limit=many)) == many - PRUNE_ROWS
        assert len(ledger.runs()) == 1

    @pytest.mark.parametrize("keep", [0, 5])
    def test_pruning_an_empty_ledger_does_nothing(self, ledger: Ledger, keep: int) -> None:
        ledger.prune(1.0, keep_outcomes=keep, keep_runs=keep)
        assert ledger.runs() == []
