"""A ledger that lies elsewhere belongs to one directory. The suite of both databases."""

import pytest

from datasync.errors import ConfigurationError, LedgerTaken
from datasync.models.sync_models import RunKind, Settlement
from datasync.services.storage.ledger import Ledger
from tests.engine.test_ledger_objects import put, row


class ClaimContract:
    def test_another_directory_is_refused_by_the_name_of_the_first(
        self, ledger: Ledger, url: str
    ) -> None:
        ledger.claim("one", "/data/one")
        ledger.claim("one", "/data/moved")
        put(ledger, row("a"))
        other = Ledger.open(url)
        with pytest.raises(ConfigurationError, match="another directory, /data/moved") as caught:
            other.claim("two", "/data/two")
        assert "--adopt" in caught.value.hint
        with pytest.raises(ConfigurationError, match="is not the directory that") as caught:
            other.claim("two", "/data/moved")  # the mirror's disk is not mounted, say
        assert "Mount" in caught.value.hint
        other.require_claim()  # it claims nothing
        other.close()
        ledger.require_claim()
        assert len(ledger.rows()) == 1

    def test_a_ledger_that_knows_of_no_object_is_anybodys(self, ledger: Ledger, url: str) -> None:
        """A container with an empty bucket, and a new directory at each start."""
        ledger.claim("one", "/data")
        ledger.mark([("a", "event")], 1.0)
        ledger.close()
        again = Ledger.open(url)
        again.claim("two", "/data")
        again.require_claim()
        assert list(again.dirty(["a"])) == ["a"]  # it was accepted
        again.close()

    def test_who_lost_it_to_another_directory_can_write_nothing_more(
        self, ledger: Ledger, url: str
    ) -> None:
        ledger.claim("one", "/data/one")
        put(ledger, row("a"))
        ledger.mark([("a", "event")], 1.0)
        ledger.request_run(RunKind.RECONCILE, "", 1.0)
        other = Ledger.open(url)
        other.claim("two", "/data/two", over=True)
        assert (other.rows(), other.dirty(["a"]), other.runs()) == ([], {}, [])  # not of its files
        assert other.totals().files == 0
        for lost in (
            ledger.require_claim,
            lambda: put(ledger, row("a")),
            lambda: ledger.mark([("a", "event")], 2.0),
            lambda: ledger.settle(Settlement()),
        ):
            with pytest.raises(LedgerTaken, match="by the service of another directory"):
                lost()
        put(other, row("b"))
        other.mark([("b", "event")], 3.0)
        assert ([found.key for found in other.rows()], list(other.dirty(["a", "b"]))) == (
            ["b"],
            ["b"],
        )
        other.close()

    def test_processes_of_one_directory_share_it(self, ledger: Ledger, url: str) -> None:
        others = [Ledger.open(url) for _ in range(3)]
        for each in (ledger, *others):
            each.claim("one", "/data/one")
        for each in (ledger, *others):
            each.require_claim()
            put(each, row("a"))
        for each in others:
            each.close()

    def test_a_folder_may_have_any_name(self, ledger: Ledger) -> None:
        ledger.claim("one", "/data/\udcff\n")
        ledger.claim("one", "/data/\udcff\n")
        ledger.require_claim()
