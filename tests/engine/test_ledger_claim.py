"""A ledger that lies elsewhere belongs to one directory. The suite of both databases."""

import pytest

from datasync.errors import ConfigurationError, LedgerError
from datasync.services.storage.ledger import Ledger


class ClaimContract:
    def test_another_directory_is_refused_by_the_name_of_the_first(
        self, ledger: Ledger, url: str
    ) -> None:
        ledger.claim("one", "/data/one")
        ledger.claim("one", "/data/moved")
        other = Ledger.open(url)
        with pytest.raises(ConfigurationError, match="another directory, /data/moved") as caught:
            other.claim("two", "/data/two")
        assert "--adopt" in caught.value.hint
        other.require_claim()  # it claims nothing
        other.close()
        ledger.require_claim()

    def test_who_lost_it_to_another_directory_hears_of_it(self, ledger: Ledger, url: str) -> None:
        ledger.claim("one", "/data/one")
        other = Ledger.open(url)
        other.claim("two", "/data/two", over=True)
        other.require_claim()
        other.close()
        with pytest.raises(LedgerError, match="taken over by the service of /data/two"):
            ledger.require_claim()

    def test_processes_of_one_directory_share_it(self, ledger: Ledger, url: str) -> None:
        others = [Ledger.open(url) for _ in range(3)]
        for each in (ledger, *others):
            each.claim("one", "/data/one")
        for each in (ledger, *others):
            each.require_claim()
        for each in others:
            each.close()
