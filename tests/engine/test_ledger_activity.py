"""What every ledger remembers of each minute, for plots and for Prometheus."""

from dataclasses import replace

import pytest

from datasync.models.figures import Moving
from datasync.models.sync_models import Operation, Settlement
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.ledger.activity import KEPT_SECONDS, STALE_SECONDS
from datasync.services.storage.ledger.event_figures import LONGEST_SECONDS
from tests.engine.test_ledger_outcomes import FAILED, outcome, record

HOUR = 3600.0


class ActivityContract:
    def test_each_step_has_what_was_done_in_it(self, ledger: Ledger) -> None:
        got = replace(outcome("a", at=7200.0), bytes=10)
        gone = replace(outcome("b", at=7201.0), operation=Operation.DELETE)
        record(ledger, got, gone)
        record(ledger, replace(got, at=7259.9, bytes=5), outcome("c", FAILED, at=7230.0))
        record(ledger, replace(outcome("d", at=7261.0), operation=Operation.SKIP))
        spells = ledger.activity(7200.0, 7379.0, 60)
        assert [spell.at for spell in spells] == [7200.0, 7260.0, 7320.0]
        first = spells[0]
        assert (first.downloaded, first.bytes, first.deleted, first.failed) == (2, 15, 1, 1)
        assert (first.events, first.lag_seconds, first.most_lag_seconds) == (0, None, None)
        assert spells[1:] == [replace(first, at=at, **NOTHING) for at in (7260.0, 7320.0)]

    def test_longer_steps_sum_their_minutes(self, ledger: Ledger) -> None:
        for minute in range(120):
            record(ledger, replace(outcome("a", at=HOUR + 60.0 * minute), bytes=minute))
        spells = ledger.activity(HOUR, 3 * HOUR - 1, 600)
        assert [spell.downloaded for spell in spells] == [10] * 12
        assert spells[1].bytes == sum(range(10, 20))

    def test_lag_is_the_mean_and_the_most(self, ledger: Ledger) -> None:
        for lag in (0.1, 0.3, 2.6):
            record(ledger, replace(outcome("a", at=60.0), lag_seconds=lag))
        record(ledger, replace(outcome("a", at=120.0), lag_seconds=6.4e10))
        first, second = ledger.activity(60.0, 120.0, 60)
        assert first.events == 3
        assert first.lag_seconds == pytest.approx(1.0)
        assert first.most_lag_seconds == pytest.approx(2.6)
        assert second.most_lag_seconds == LONGEST_SECONDS

    def test_old_minutes_are_forgotten(self, ledger: Ledger) -> None:
        record(ledger, outcome("a", at=60.0), outcome("b", at=KEPT_SECONDS + 60.0))
        ledger.prune(KEPT_SECONDS + 120.0)
        assert ledger.activity(0.0, 119.0, 60)[1].downloaded == 0
        assert ledger.activity(KEPT_SECONDS, KEPT_SECONDS + 119.0, 60)[1].downloaded == 1

    def test_what_was_done_is_counted_and_measured(self, ledger: Ledger) -> None:
        record(
            ledger,
            replace(outcome("a"), bytes=100, seconds=0.02),
            replace(outcome("b"), bytes=5_000, seconds=0.3),
            outcome("c", FAILED),
            replace(outcome("d"), operation=Operation.DELETE),
        )
        totals = ledger.event_totals()
        assert totals.done == {"download.success": 2, "download.failed": 1, "delete.success": 1}
        assert (totals.sizes.count, totals.sizes.total) == (2, 5_100)
        assert dict(totals.sizes.buckets)[1024] == 1
        transfer = totals.histograms["transfer"]
        assert transfer.count == 2
        assert transfer.total == pytest.approx(0.32)

    def test_what_is_on_its_way_is_replaced_and_grows_stale(self, ledger: Ledger) -> None:
        old = Moving("a\x00é", None, 0, 5.0, 7)
        new = Moving("b", 2**40, 2**33, 4.0, None)
        ledger.note_transfers([old], 10.0)
        assert ledger.moving(11.0) == [old]
        ledger.note_transfers([replace(old, size=3, received=1), new], 12.0)
        assert ledger.moving(12.0) == [new, replace(old, size=3, received=1)]
        assert ledger.moving(12.0 + STALE_SECONDS + 1) == []
        ledger.note_transfers([], 13.0)
        assert ledger.moving(13.0) == []

    def test_nothing_done_leaves_no_trace(self, ledger: Ledger) -> None:
        ledger.settle(Settlement(at=60.0))
        assert ledger.event_totals().done == {}
        assert [spell.downloaded for spell in ledger.activity(0.0, 59.0, 60)] == [0]


NOTHING = {"downloaded": 0, "bytes": 0, "deleted": 0, "failed": 0}
