"""The intake on a real journal and a real ledger: whatever a sender says, its keys are marked."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from datasync.controllers import views
from datasync.controllers.intake import Intake
from datasync.errors import LedgerError
from datasync.models.s3_models import SyncResponse
from datasync.models.sync_models import (
    DirtyKey,
    EventNote,
    Operation,
    Outcome,
    OutcomeStatus,
    Settlement,
    SyncOptions,
)
from datasync.services.events.journal import Journal
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.ledger.database import Database
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


@pytest.mark.parametrize("told", ["ObjectCreated:" + "x" * 64, "Replication:\x00", "Made:Up"])
def test_types_that_a_sender_makes_up_are_counted_together(desk: Desk, told: str) -> None:
    made_up = [s3_record(f"k{number}", f"{told[:60]}{number}") for number in range(50)]
    assert desk.take(records(*made_up)) == [None]
    assert len(desk.ledger.event_totals().by_type) == 1


@pytest.fixture
def picky(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk whose ledger refuses the key "bad"."""
    journal = Ledger.journal

    def refuse(ledger: Ledger, notes: Sequence[EventNote], figures: Mapping[str, int]) -> None:
        if any(note.key == "bad" for note in notes):
            raise LedgerError("value too long")
        journal(ledger, notes, figures)

    monkeypatch.setattr(Ledger, "journal", refuse)
    return desk


@pytest.mark.parametrize("keys", ["a bad b", "bad", "bad bad"])
def test_a_message_that_the_ledger_refuses_is_poison_alone(picky: Desk, keys: str) -> None:
    bodies = [records(s3_record(key)) for key in keys.split()]
    expected = ["LedgerError" if key == "bad" else None for key in keys.split()]
    assert picky.take(*bodies) == expected
    assert picky.ledger.dirty_count() == expected.count(None)
    assert picky.ledger.event_totals().by_status["poison"] == keys.count("bad")


def test_a_ledger_that_refuses_everything_makes_no_message_poison(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise LedgerError("the database disk image is malformed")

    monkeypatch.setattr(Ledger, "journal", refuse)
    with pytest.raises(LedgerError, match="malformed"):
        desk.take(records(s3_record("a")), records(s3_record("b")))


def test_a_message_that_cannot_be_read_keeps_no_other_back_and_is_counted(desk: Desk) -> None:
    assert desk.take(7, records(s3_record("a")), {}) == [
        "UnprocessableRequest",
        None,
        "UnprocessableRequest",
    ]
    assert desk.ledger.event_totals().by_status == {"queued": 1, "poison": 2}


def test_a_batch_of_any_size_is_taken_in_portions(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten messages of SQS may hold 100,000 events: twice of what may wait for the journal."""
    monkeypatch.setattr("datasync.services.events.journal.WAITING", 500)
    monkeypatch.setattr("datasync.controllers.intake.PORTION", 200)
    portions, journal = [], Ledger.journal

    def count(ledger: Ledger, notes: Sequence[EventNote], figures: Mapping[str, int]) -> None:
        portions.append(len(notes))
        journal(ledger, notes, figures)

    monkeypatch.setattr(Ledger, "journal", count)
    batch = [[f"{message}/{number}" for number in range(99)] for message in range(10)]
    assert desk.take(*(records(*map(s3_record, keys)) for keys in batch)) == [None] * 10
    assert desk.ledger.dirty_count() == 990
    assert max(portions) == 198


def settled_of(desk: Desk, keys: Sequence[str], *others: Any) -> SyncResponse:
    """What `settled` says of a notice once the keys whose names end in 0 failed, those in 1
    succeeded, those in 2 still wait, and the others needed nothing."""
    body = json.dumps(records(*map(s3_record, keys), *others)).encode()
    notice, written = desk.intake.read(body, "http"), threading.Event()
    desk.intake.record(notice, lambda error: written.set())
    assert written.wait(20)
    ends = {"0": OutcomeStatus.FAILED, "1": OutcomeStatus.SUCCESS}
    told = [
        Outcome(key, Operation.DOWNLOAD, ends[key[-1]], "told", at=at)
        for at in (NOW - 60, NOW)
        for key in keys
        if key[-1] in ends
    ]
    cleared = [mark for key, mark in desk.ledger.dirty(keys).items() if key[-1] != "2"]
    desk.ledger.settle(Settlement(cleared=tuple(cleared), outcomes=tuple(told)))
    return desk.intake.settled(notice, 1.0)


def test_many_keys_are_answered_with_few_questions_and_details(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        whole = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return whole(*given, **named)

        monkeypatch.setattr(owner, name, counted)

    for name in ("outcome_detail", "queued_detail", "unchanged_detail", "event_detail"):
        count(views, name)
    count(Database, "read")
    answer = settled_of(desk, [f"k{number}" for number in range(5_000)], 7)
    assert (answer.successful_operations, answer.failed_operations) == (500, 500)
    assert (answer.skipped_files, answer.status) == (3_500, "accepted")
    assert "500 still queued" in answer.message
    assert len(answer.sync_details) == 1_000
    statuses = [detail.status for detail in answer.sync_details]
    assert statuses[:501] == ["rejected"] + ["failed"] * 500
    assert calls.pop("read") < 10
    assert calls.total() <= 1_001


def test_an_outcome_of_before_says_nothing_of_this_event(desk: Desk) -> None:
    told = Outcome("a3", Operation.DOWNLOAD, OutcomeStatus.FAILED, "told", at=NOW - 60)
    desk.ledger.settle(Settlement(outcomes=(told,)))
    [detail] = settled_of(desk, ["a3"]).sync_details
    assert (detail.status, detail.operation) == ("skipped", "skip")
