"""Messages and bodies on their way into the ledger, traced: whose spans, and what they carry."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from datasync.controllers.intake import Intake
from datasync.controllers.messages import taker
from datasync.errors import LedgerBusy
from datasync.models.sync_models import SyncOptions
from datasync.services.events.journal import Journal
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.tracing.port import OFF, Kind, Tracer
from tests.support.envelopes import BUCKET, records, s3_record
from tests.support.tracing import TRACEPARENT, KeptSpans
from tests.support.world import eventually


class Desk:
    """An intake whose journal is traced."""

    def __init__(self, url: str) -> None:
        self.tracer = KeptSpans()
        self.ledger = Ledger.open(url)
        self.journal = Journal(self.ledger, lambda: None, tracer=self.tracer)
        options = SyncOptions(bucket=BUCKET, interval_seconds=None)
        self.intake = Intake(self.journal, self.ledger, options, lambda: True)

    def taken(self, *documents: Any, tracer: Tracer | None = None) -> list[Any]:
        """As the consumer of a queue hands bodies over."""
        take = taker(self.intake, tracer or self.tracer, "the-queue")
        return take([json.dumps(document).encode() for document in documents])

    def trace_of(self, key: str) -> str | None:
        return self.ledger.dirty([key])[key].traceparent

    def close(self) -> None:
        self.journal.close()
        self.ledger.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(sqlite_url(tmp_path / "ledger.db"))
    yield made
    made.close()


def test_a_batch_of_messages_is_a_span_and_its_keys_carry_it(desk: Desk) -> None:
    assert desk.taken(records(s3_record("a")), records(s3_record("b"))) == [None, None]
    (batch,) = desk.tracer.named("process the-queue")
    assert (batch.kind, batch.parent, batch.error, batch.over) == (Kind.CONSUMER, None, None, True)
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert desk.trace_of("a") == desk.trace_of("b") == batch.traceparent
    eventually(lambda: len(desk.tracer.named("journal")) == 2)
    assert {span.parent for span in desk.tracer.named("journal")} == {batch.traceparent}


def test_poison_is_told_on_the_batch(desk: Desk) -> None:
    desk.taken(7, records(s3_record("a")))
    (batch,) = desk.tracer.named("process the-queue")
    assert batch.error and desk.trace_of("a") == batch.traceparent


def test_a_batch_that_is_not_journaled_ends_its_span(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LedgerBusy("not now")

    monkeypatch.setattr(desk.ledger, "journal", refuse)
    with pytest.raises(LedgerBusy):
        desk.taken(records(s3_record("a")))
    (batch,) = desk.tracer.named("process the-queue")
    assert batch.over and batch.error == "they were not journaled"
    eventually(lambda: desk.tracer.named("journal"))
    assert desk.tracer.named("journal")[0].error == "not now"


def test_off_marks_without_a_trace(desk: Desk) -> None:
    assert desk.taken(records(s3_record("a")), tracer=OFF) == [None]
    assert desk.tracer.spans == [] and desk.trace_of("a") is None


def test_the_span_of_the_journal_lasts_from_arrival_to_storage(desk: Desk) -> None:
    notice = desk.intake.read(json.dumps(records(s3_record("a"))).encode(), "http", TRACEPARENT)
    written = Future[None]()
    desk.intake.record(notice, lambda _: written.set_result(None))
    written.result(20)
    eventually(lambda: desk.tracer.named("journal") and desk.tracer.named("journal")[0].over)
    (span,) = desk.tracer.named("journal")
    assert (span.parent, span.started) == (TRACEPARENT, notice.received)
    assert span.ended is not None and span.ended >= notice.received
    assert span.attributes == {"datasync.keys": 1, "datasync.group": 1}
