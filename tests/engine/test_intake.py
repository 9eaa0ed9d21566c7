"""The intake on a real journal and a real ledger: whatever a sender says, its keys are marked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.controllers.intake import Intake
from datasync.models.sync_models import DirtyKey, SyncOptions
from datasync.services.events.journal import Journal
from datasync.services.storage.ledger import Ledger, sqlite_url
from tests.support.envelopes import BUCKET, bridge_event, records, s3_record

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
OPTIONS = SyncOptions(bucket=BUCKET, interval_seconds=None)


class Desk:
    """An intake whose clock stands still. `take` is what the consumer of a queue calls."""

    def __init__(self, url: str) -> None:
        self.ledger = Ledger.open(url)
        self.journal = Journal(self.ledger, lambda: None)
        self.intake = Intake(self.journal, self.ledger, OPTIONS, lambda: True, lambda: NOW)

    def take(self, *documents: Any) -> list[str | None]:
        """The kind of error of each, None for what was journaled."""
        bodies = [json.dumps(document).encode() for document in documents]
        answers = self.intake.take(bodies, "sqs")
        return [None if error is None else type(error).__name__ for error in answers]

    def mark(self, key: str) -> DirtyKey:
        return self.ledger.dirty([key])[key]

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(sqlite_url(tmp_path / "ledger.db"))
    yield made
    made.close()


BELIEVED = ["2027-01-15T08:00:00Z", "2026-12-16T08:00:01Z", "2027-01-15T08:04:59.5Z"]
NOT_BELIEVED = ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2026-12-16T07:59:59Z"]
NOT_BELIEVED += ["2027-01-15T08:05:01Z", "9999-12-31T23:59:59Z", "soon"]


@pytest.mark.parametrize("told", BELIEVED + NOT_BELIEVED)
def test_a_time_that_cannot_be_is_no_time(desk: Desk, told: str) -> None:
    bridged = {**bridge_event("b"), "time": told}
    assert desk.take(records({**s3_record("a"), "eventTime": told}), bridged) == [None, None]
    assert [desk.mark(key).happened is not None for key in "ab"] == [told in BELIEVED] * 2
