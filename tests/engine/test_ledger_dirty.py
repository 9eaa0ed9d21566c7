"""What every ledger does with marks: coalescing, order, due times, counters."""

from dataclasses import replace

import pytest

from datasync.errors import KeyRejected
from datasync.models.sync_models import DirtyKey, EventNote, Settlement
from datasync.services.engine.levels import defer_seconds
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.ledger.dirty import MOST_EVENTS
from datasync.services.storage.ledger.tables import dirty


def only(ledger: Ledger, key: str) -> DirtyKey:
    """The mark of a key that is dirty."""
    return ledger.dirty([key])[key]


def defer(ledger: Ledger, key: str, not_before: float, error: str = "timed out") -> None:
    mark = only(ledger, key)
    later = replace(mark, attempts=mark.attempts + 1, not_before=not_before, last_error=error)
    ledger.settle(Settlement(deferred=(later,)))


class DirtyContract:
    def test_a_mark_deferred_before_the_clock_was_set_back_is_due(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put", "b": "put"}, 1.0)
        defer(ledger, "a", not_before=1e9)
        longest = defer_seconds(attempts=99, chance=1.0)
        defer(ledger, "b", not_before=10.0 + longest)
        assert [mark.key for mark in ledger.due(10.0, 5)] == ["a"]
        assert ledger.due(10.0, 5, exclude=["a"]) == []

    def test_marks_that_failed_by_one_error_can_be_made_due(self, ledger: Ledger) -> None:
        ledger.mark({"a": "put", "b": "put", "c": "put"}, 1.0)
        defer(ledger, "a", 3000.0, "DiskFull: 1 % must stay free")
        defer(ledger, "b", 3000.0, "ServerFault: DiskFull: no")
        ledger.hurry("DiskFull", 10.0)
        assert {mark.key for mark in ledger.due(10.0, 5)} == {"a", "c"}
        assert (only(ledger, "a").attempts, only(ledger, "b").not_before) == (1, 3000.0)

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

    def test_a_key_that_keeps_being_marked_does_not_lose_its_turn(self, ledger: Ledger) -> None:
        ledger.mark({"hot": "put"}, 1.0)
        for turn in range(2, 5):
            ledger.mark({f"{turn}-{number}": "put" for number in range(3)}, float(turn))
            ledger.mark({"hot": "put again"}, turn + 0.5)
        assert ledger.due(9.0, 1) == [only(ledger, "hot")]

    def test_those_marked_later_can_be_left_out(self, ledger: Ledger) -> None:
        ledger.mark({"hot": "put", "old": "put"}, 1.0)
        until = ledger.latest_mark()
        ledger.mark({"hot": "put again", "new": "put"}, 3.0)
        assert [mark.key for mark in ledger.due(9.0, 9, made_by=until)] == ["old"]

    def test_many_fresh_marks_do_not_hide_an_older_retry(self, ledger: Ledger) -> None:
        ledger.mark({"retry": "put"}, 1.0)
        defer(ledger, "retry", 5.0)
        ledger.mark({f"fresh{number}": "put" for number in range(50)}, 2.0)
        assert [mark.key for mark in ledger.due(6.0, 1)] == ["retry"]

    def test_figures_add_up_with_or_without_keys(self, ledger: Ledger) -> None:
        ledger.journal([EventNote("a", "put", 1.0)], {"event.queued": 1, "event.ignored": 2})
        ledger.journal([], {"event.ignored": 3, "event.rejected": 1, "source.sqs.s3": 4})
        assert ledger.mark({}, 1.0) == {}
        events = ledger.event_totals()
        assert events.by_status == {"queued": 1, "ignored": 5, "rejected": 1}
        assert events.by_source == {"sqs.s3": 4}
        assert ledger.dirty_count() == 1

    def test_events_of_one_key_are_one_mark_and_counted(self, ledger: Ledger) -> None:
        told = [EventNote("a", "put", 5.0, 3.0), EventNote("b", "put", 5.0)]
        ledger.journal([*told, EventNote("a", "delete", 6.0, 4.0)], {})
        ledger.journal([EventNote("a", "put", 7.0, 2.0)], {})
        mark = only(ledger, "a")
        assert (mark.first_seen, mark.last_seen, mark.events) == (5.0, 7.0, 3)
        assert (mark.happened, mark.last_happened, mark.reason) == (2.0, 2.0, "put")
        assert ledger.event_totals().duplicates == 2
        assert ledger.totals().last_event == 7.0

    def test_a_mark_without_an_event_is_no_event(self, ledger: Ledger) -> None:
        ledger.mark({"a": "retry"}, 9.0)
        assert only(ledger, "a").events == 0
        assert ledger.totals().last_event is None
        assert ledger.event_totals().duplicates == 0

    def test_an_unknown_time_of_an_event_hides_no_known_one(self, ledger: Ledger) -> None:
        for happened in (None, 3.0, None):
            ledger.journal([EventNote("a", "put", 5.0, happened)], {})
        assert only(ledger, "a").happened == 3.0

    def test_what_is_told_while_a_key_is_at_work_waits_from_then_on(self, ledger: Ledger) -> None:
        ledger.journal([EventNote("a", "put", 1.0, 0.5), EventNote("b", "put", 1.0)], {})
        at_work = [only(ledger, key) for key in "ab"]
        ledger.journal([EventNote("a", "put", 8.0, 7.5)], {})
        ledger.settle(Settlement(cleared=tuple(at_work)))
        left = only(ledger, "a")
        assert (left.first_seen, left.happened, left.events) == (8.0, 7.5, 1)
        assert ledger.dirty(["b"]) == {}

    def test_what_no_event_told_of_stays_so(self, ledger: Ledger) -> None:
        ledger.mark({"a": "retry"}, 1.0)
        at_work = only(ledger, "a")
        ledger.mark({"a": "retry"}, 2.0)
        ledger.settle(Settlement(cleared=(at_work,)))
        assert only(ledger, "a").events == 0

    def test_events_are_counted_as_far_as_the_column_goes(self, ledger: Ledger) -> None:
        ledger.journal([EventNote("a", "put", 1.0)], {})
        with ledger._database.write() as connection:
            connection.execute(dirty.update().values(events=MOST_EVENTS))
        ledger.journal([EventNote("a", "put", 2.0)] * 3, {})
        assert (only(ledger, "a").last_seen, only(ledger, "a").events) == (2.0, MOST_EVENTS)

    def test_a_mark_has_the_trace_of_the_newest_event(self, ledger: Ledger) -> None:
        first, second = (f"00-{digit * 32}-{'b' * 16}-01" for digit in "12")
        ledger.journal([EventNote("a", "put", 1.0, traceparent=first)], {})
        assert only(ledger, "a").traceparent == first
        both = [EventNote("a", "put", 2.0, traceparent=text) for text in (first, second)]
        ledger.journal(both, {})
        assert only(ledger, "a").traceparent == second
        assert [mark.traceparent for mark in ledger.due(3.0, 5)] == [second]
        defer(ledger, "a", not_before=9.0)
        assert only(ledger, "a").traceparent == second  # the next try is part of it, too

    def test_a_newer_event_that_is_not_traced_ends_the_trace(self, ledger: Ledger) -> None:
        traced = EventNote("a", "put", 1.0, traceparent=f"00-{'1' * 32}-{'b' * 16}-01")
        ledger.journal([traced], {})
        ledger.journal([EventNote("a", "put", 2.0)], {})
        assert only(ledger, "a").traceparent is None
        ledger.journal([traced], {})
        ledger.mark({"a": "retry"}, 3.0)
        assert only(ledger, "a").traceparent is None

    def test_the_last_event_never_goes_back(self, ledger: Ledger) -> None:
        for received in (5.0, 9.0, 7.0):
            ledger.journal([EventNote("a", "put", received)], {})
        assert ledger.totals().last_event == 9.0

    def test_a_last_event_of_a_clock_that_was_far_ahead_gives_way(self, ledger: Ledger) -> None:
        for received in (10_000.0, 9_800.0):
            ledger.journal([EventNote("a", "put", received)], {})
        assert ledger.totals().last_event == 10_000.0
        ledger.journal([EventNote("a", "put", 5_000.0)], {})
        assert ledger.totals().last_event == 5_000.0

    def test_a_bad_key_marks_nothing(self, ledger: Ledger) -> None:
        with pytest.raises(KeyRejected):
            ledger.journal(
                [EventNote("a", "put", 1.0), EventNote("\udcff", "put", 1.0)], {"event.queued": 2}
            )
        assert ledger.dirty_count() == 0
        assert ledger.event_totals().by_status == {}

    def test_thousands_are_marked_at_once(self, ledger: Ledger) -> None:
        keys = [f"k{number}" for number in range(3_000)]
        assert set(ledger.mark({key: "put" for key in keys}, 1.0)) == set(keys)
        assert set(ledger.dirty(keys)) == set(keys)
        assert len(ledger.due(1.0, 5_000, exclude=keys[:10])) == 2_990
