"""The ledger's suite, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.services.storage.ledger import Ledger
from tests.engine.test_ledger_activity import ActivityContract
from tests.engine.test_ledger_claim import ClaimContract
from tests.engine.test_ledger_dirty import DirtyContract
from tests.engine.test_ledger_objects import ObjectsContract
from tests.engine.test_ledger_outcomes import OutcomesContract
from tests.engine.test_ledger_runs import RunsContract
from tests.engine.test_ledger_scope import ScopeContract
from tests.engine.test_ledger_settle import SettleContract
from tests.engine.test_ledger_sharing import SharingContract

pytest_plugins = ["tests.support.postgres"]


class LedgerContract(
    ObjectsContract,
    DirtyContract,
    SettleContract,
    ScopeContract,
    RunsContract,
    OutcomesContract,
    ActivityContract,
    SharingContract,
    ClaimContract,
):
    """What every ledger does, whatever database it is kept in."""

    @pytest.fixture
    def ledger(self, url: str) -> Iterator[Ledger]:
        ledger = Ledger.open(url)
        yield ledger
        ledger.close()


class TestSqliteLedger(LedgerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/.datasync/ledger.db"


class TestPostgresLedger(LedgerContract):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
