"""What every ledger does with keys outside the part of the bucket that is mirrored."""

from hypothesis import given
from hypothesis import strategies as st

from datasync.models.figures import LedgerTotals
from datasync.models.sync_models import State
from datasync.services.storage.ledger import Ledger
from tests.engine.test_ledger_dirty import defer
from tests.engine.test_ledger_objects import KEYS, SHARED, clear, put, row

AROUND = ("", "a", "in", "in.", "in/", "in/a", "in/\U0010ffff", "in0", "é", "\U0010ffff")


def left(ledger: Ledger) -> tuple[list[str], list[str]]:
    """The keys that have rows, and those that have marks."""
    rows = [held.key for held in ledger.rows(limit=10_000)]
    return rows, sorted(mark.key for mark in ledger.due(float("inf"), 10_000))


class ScopeContract:
    def test_what_is_outside_a_prefix_is_forgotten_and_the_rest_is_not(
        self, ledger: Ledger
    ) -> None:
        put(ledger, *(row(key) for key in AROUND if key))
        ledger.mark({key: "put" for key in AROUND if key}, 1.0)
        assert ledger.forget_outside("in/") == 2 * 6
        inside = ["in/", "in/a", "in/\U0010ffff"]
        assert left(ledger) == (inside, inside)
        assert ledger.forget_outside("in/") == 0

    def test_nothing_is_outside_the_whole_bucket(self, ledger: Ledger) -> None:
        put(ledger, row("a"), row("\U0010ffff"))
        ledger.mark({"b": "put"}, 1.0)
        assert ledger.forget_outside("") == 0
        assert left(ledger) == (["a", "\U0010ffff"], ["b"])

    def test_the_totals_forget_them_too(self, ledger: Ledger) -> None:
        put(ledger, row("in/a", size=7), row("out", size=5), row("no", State.FAILED))
        ledger.mark({"out": "put"}, 1.0)
        defer(ledger, "out", 900.0)
        ledger.forget_outside("in/")
        empty = LedgerTotals(1, 7, {State.SYNCED: 1}, 0, None, 0, files=1)
        assert ledger.totals() == empty
        assert ledger.failures() == []

    def test_it_is_done_a_piece_at_a_time(self, ledger: Ledger) -> None:
        put(ledger, *(row(f"{side}{number}") for side in "az" for number in range(5)))
        ledger.mark({f"z{number}": "put" for number in range(3)}, 1.0)
        pieces = []
        while forgotten := ledger.forget_outside("m", limit=4):
            pieces.append(forgotten)
        assert pieces == [4 + 3, 4, 2]
        assert left(ledger) == ([], [])

    @SHARED
    @given(keys=st.sets(KEYS, max_size=8), prefix=KEYS)
    def test_any_key_and_any_prefix(self, ledger: Ledger, keys: set[str], prefix: str) -> None:
        clear(ledger)
        put(ledger, *map(row, keys))
        ledger.mark({key: "put" for key in keys}, 1.0)
        while ledger.forget_outside(prefix, limit=3):
            pass
        rows, marks = left(ledger)
        assert set(rows) == set(marks) == {key for key in keys if key.startswith(prefix)}
