"""What every ledger does with a settlement: all of it or nothing, and newer marks win."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasync.errors import RunMissing
from datasync.models.sync_models import (
    ObjectRow,
    Operation,
    Outcome,
    OutcomeStatus,
    RunCounts,
    RunKind,
    Settlement,
    State,
)
from datasync.services.storage.ledger import Ledger
from tests.engine.test_ledger_dirty import defer, only
from tests.engine.test_ledger_objects import SHARED, clear, put, row

FEW = st.sampled_from(["a", "b", "c", "a/b", "é", "\x00"])
ROWS = st.builds(row, FEW, st.sampled_from(list(State)), st.integers(0, 2**40))
STEPS = st.tuples(
    st.lists(ROWS, max_size=4), st.lists(FEW, max_size=3), st.lists(FEW, max_size=3), st.booleans()
)


def downloaded(key: str, at: float = 1.0) -> Outcome:
    return Outcome(key, Operation.DOWNLOAD, OutcomeStatus.SUCCESS, "Downloaded", at)


class SettleContract:
    def test_everything_changes_together(self, ledger: Ledger) -> None:
        put(ledger, row("gone"))
        ledger.mark({"a": "put", "b": "put"}, 1.0)
        run, _ = ledger.request_run(RunKind.RECONCILE, "", 1.0)
        later = replace(only(ledger, "b"), attempts=1, not_before=9.0, last_error="no")
        ledger.settle(
            Settlement(
                rows=(row("a"),),
                removed=("gone",),
                cleared=(only(ledger, "a"),),
                deferred=(later,),
                outcomes=(downloaded("a"),),
                run_counts={run.id: RunCounts(listed=2, downloaded=1)},
            )
        )
        assert ledger.rows() == [row("a")]
        assert ledger.dirty(["a", "b"]) == {"b": later}
        assert ledger.outcomes() == [downloaded("a")]
        assert ledger.run(run.id).counts == RunCounts(listed=2, downloaded=1)

    def test_a_settlement_that_fails_changes_nothing(self, ledger: Ledger) -> None:
        put(ledger, row("old"))
        ledger.mark({"a": "put"}, 1.0)
        before = (ledger.totals(), ledger.dirty(["a"]))
        with pytest.raises(RunMissing):
            ledger.settle(
                Settlement(
                    rows=(row("a"),),
                    removed=("old",),
                    cleared=(only(ledger, "a"),),
                    outcomes=(downloaded("a"),),
                    run_counts={404: RunCounts()},
                )
            )
        assert ledger.rows() == [row("old")]
        assert ledger.outcomes() == []
        assert (ledger.totals(), ledger.dirty(["a"])) == before

    def test_a_newer_mark_is_neither_cleared_nor_deferred(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put", "b": "put"}, 1.0)
        old = ledger.dirty(["a", "b"])
        ledger.mark({"a": "again", "b": "again"}, 2.0)
        late = replace(old["b"], attempts=3, not_before=99.0, last_error="no")
        ledger.settle(Settlement(cleared=(old["a"],), deferred=(late,)))
        assert [mark.reason for mark in ledger.due(2.0, 9)] == ["again", "again"]
        assert only(ledger, "b").attempts == 0

    def test_a_deferred_mark_keeps_its_times_and_its_number(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put"}, 1.0)
        mark = only(ledger, "a")
        defer(ledger, "a", 50.0, "reset by peer\x00")
        expected = replace(mark, attempts=1, not_before=50.0, last_error="reset by peer\\x00")
        assert only(ledger, "a") == expected

    def test_a_mark_that_is_no_more_is_not_brought_back(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put"}, 1.0)
        gone = only(ledger, "a")
        ledger.settle(Settlement(cleared=(gone,)))
        ledger.settle(Settlement(deferred=(replace(gone, attempts=1, not_before=9.0),)))
        assert ledger.dirty_count() == 0

    def test_a_key_both_removed_and_written_is_written(self, ledger: Ledger) -> None:
        put(ledger, row("a", size=1))
        ledger.settle(Settlement(rows=(row("a", size=2),), removed=("a",)))
        assert ledger.get("a") == row("a", size=2)
        assert ledger.totals().bytes == 2

    def test_of_two_rows_of_a_key_the_later_counts(self, ledger: Ledger) -> None:
        put(ledger, row("a", size=1), row("a", size=5))
        assert ledger.rows() == [row("a", size=5)]
        assert (ledger.totals().objects, ledger.totals().bytes) == (1, 5)

    def test_an_empty_settlement_is_nothing(self, ledger: Ledger) -> None:
        ledger.settle(Settlement())
        assert ledger.totals().objects == 0

    @SHARED
    @given(steps=st.lists(STEPS, max_size=6))
    def test_the_totals_are_what_a_count_would_say(
        self, ledger: Ledger, steps: list[tuple[list[ObjectRow], list[str], list[str], bool]]
    ) -> None:
        clear(ledger)
        rows: dict[str, ObjectRow] = {}
        failing: set[str] = set()
        for written, removed, marked, cleared in steps:
            ledger.settle(Settlement(rows=tuple(written), removed=tuple(removed)))
            rows = {key: held for key, held in rows.items() if key not in removed}
            rows |= {row.key: row for row in written}
            ledger.mark({key: "put" for key in marked}, 1.0)
            for key in marked:
                defer(ledger, key, 2.0)
            failing |= set(marked)
            if cleared:
                ledger.settle(Settlement(cleared=tuple(ledger.due(9.0, 99))))
                failing.clear()
        totals = ledger.totals()
        states = [row.state for row in rows.values()]
        assert totals.by_state == {state: states.count(state) for state in states}
        assert totals.objects == len(rows)
        assert totals.bytes == sum(row.local_size or 0 for row in rows.values())
        broken = {r.key for r in rows.values() if r.state in (State.FAILED, State.STALE)}
        assert totals.failed == len(broken | failing)
        assert totals.pending == len(failing)
        rejected = {row.key for row in rows.values() if row.state == State.REJECTED}
        listed = [failure.key for failure in ledger.failures()]
        assert listed == sorted(broken | failing | rejected, key=str.encode)
