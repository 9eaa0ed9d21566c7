"""What every ledger does with marks: coalescing, order, due times, counters."""

from dataclasses import replace

import pytest

from datasync.errors import KeyRejected
from datasync.models.sync_models import DirtyKey, Settlement
from datasync.services.storage.ledger import Ledger


def only(ledger: Ledger, key: str) -> DirtyKey:
    """The mark of a key that is dirty."""
    return ledger.dirty([key])[key]


def defer(ledger: Ledger, key: str, not_before: float, error: str = "timed out") -> None:
    mark = only(ledger, key)
    later = replace(mark, attempts=mark.attempts + 1, not_before=not_before, last_error=error)
    ledger.settle(Settlement(deferred=(later,)))


class DirtyContract:
    def test_a_mark_says_when_and_why(self, ledger: Ledger) -> None:
        marks = ledger.mark({"a\x00b": "ObjectCreated:Put"}, 5.5)
        expected = DirtyKey("a\x00b", "ObjectCreated:Put", marks["a\x00b"], 5.5, 5.5)
        assert ledger.dirty(["a\x00b", "b"]) == {"a\x00b": expected}
        assert marks["a\x00b"] > 0

    def test_a_burst_coalesces(self, ledger: Ledger) -> None:
        numbers = [ledger.mark({"a": f"event {n}"}, float(n))["a"] for n in range(5)]
        assert numbers == sorted(set(numbers))
        assert ledger.dirty_count() == 1
        assert only(ledger, "a") == DirtyKey("a", "event 4", numbers[-1], 0.0, 4.0)

    def test_pairs_are_taken_and_the_last_reason_of_a_key_counts(self, ledger: Ledger) -> None:
        assert set(ledger.mark([("a", "put"), ("b", "put"), ("a", "delete")], 1.0)) == {"a", "b"}
        assert only(ledger, "a").reason == "delete"

    def test_a_key_cleared_and_marked_again_has_a_new_number(self, ledger: Ledger) -> None:
        ledger.mark({"a": "first"}, 1.0)
        held = only(ledger, "a")
        ledger.settle(Settlement(cleared=(held,)))
        ledger.mark({"a": "second"}, 2.0)
        ledger.settle(Settlement(cleared=(held,)))
        assert only(ledger, "a").reason == "second"

    def test_marking_a_deferred_key_makes_it_due_at_once(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put"}, 1.0)
        defer(ledger, "a", 900.0)
        assert ledger.due(2.0, 10) == []
        ledger.mark({"a": "put again"}, 2.0)
        mark = only(ledger, "a")
        assert (mark.attempts, mark.not_before, mark.first_seen) == (0, 0.0, 1.0)
        assert mark.last_error == "timed out"
        assert ledger.due(2.0, 10) == [mark]

    def test_the_oldest_are_due_first(self, ledger: Ledger) -> None:
        for key, at in (("c", 3.0), ("a", 1.0), ("d", 4.0), ("b", 2.0)):
            ledger.mark({key: "put"}, at)
        defer(ledger, "b", 10.0)
        assert [mark.key for mark in ledger.due(9.9, 10)] == ["a", "c", "d"]
        assert [mark.key for mark in ledger.due(10.0, 10)] == ["a", "b", "c", "d"]
        assert [mark.key for mark in ledger.due(10.0, 2)] == ["a", "b"]
        assert [mark.key for mark in ledger.due(10.0, 2, exclude={"a", "b"})] == ["c", "d"]

    def test_many_fresh_marks_do_not_hide_an_older_retry(self, ledger: Ledger) -> None:
        ledger.mark({"retry": "put"}, 1.0)
        defer(ledger, "retry", 5.0)
        ledger.mark({f"fresh{number}": "put" for number in range(50)}, 2.0)
        assert [mark.key for mark in ledger.due(6.0, 1)] == ["retry"]

    def test_counters_add_up_with_or_without_keys(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put"}, 1.0, counters={"queued": 1, "ignored": 2})
        ledger.mark({}, 1.0, counters={"ignored": 3, "rejected": 1})
        assert ledger.mark({}, 1.0) == {}
        assert ledger.totals().events == {"queued": 1, "ignored": 5, "rejected": 1}
        assert ledger.dirty_count() == 1

    def test_a_bad_key_marks_nothing(self, ledger: Ledger) -> None:
        with pytest.raises(KeyRejected):
            ledger.mark({"a": "put", "\udcff": "put"}, 1.0, counters={"queued": 2})
        assert ledger.dirty_count() == 0
        assert ledger.totals().events == {}

    def test_thousands_are_marked_at_once(self, ledger: Ledger) -> None:
        keys = [f"k{number}" for number in range(3_000)]
        assert set(ledger.mark({key: "put" for key in keys}, 1.0)) == set(keys)
        assert set(ledger.dirty(keys)) == set(keys)
        assert len(ledger.due(1.0, 5_000, exclude=keys[:10])) == 2_990
