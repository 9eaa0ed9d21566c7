"""The journal: events of many senders in few commits, bounded, and never lost once promised."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import (
    DiskFull,
    Interrupted,
    JournalFull,
    KeyRejected,
    LedgerBusy,
    LedgerError,
)
from datasync.models.sync_models import EventNote
from datasync.services.events import journal as journal_module
from datasync.services.events.journal import Entry, Journal
from datasync.services.storage.ledger import Ledger, sqlite_url
from tests.support.threads import no_threads
from tests.support.world import eventually


class GatedLedger:
    """A real ledger whose journal waits at a gate; knows how often it was written to."""

    def __init__(self, ledger: Ledger) -> None:
        self.real = ledger
        self.gate = threading.Event()
        self.gate.set()
        self.commits: list[int] = []
        self.error: Exception | None = None
        self.refused: dict[str, Exception] = {}  # by key

    def journal(self, notes: Sequence[EventNote], figures: Mapping[str, int]) -> None:
        if notes:
            self.commits.append(len(notes))
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        for note in notes:
            if note.key in self.refused:
                raise self.refused[note.key]
        self.real.journal(notes, figures)


class Desk:
    """A journal on a gated ledger; `rings` counts how often the engine was woken."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = GatedLedger(ledger)
        self.rings = 0
        self.journal = Journal(self.ledger, self._ring)  # type: ignore[arg-type]

    def _ring(self) -> None:
        self.rings += 1

    def tell(self, *keys: str, **figures: int) -> Any:
        notes = [EventNote(key, "put", 1.0) for key in keys]
        told: Future[None] = Future()

        def hear(error: Exception | None) -> None:
            told.set_exception(error) if error else told.set_result(None)

        self.journal.submit([Entry(notes, figures, 1.0, hear)])
        return told

    def hold(self) -> None:
        """Keep the next commit at the gate, with one event in it."""
        self.ledger.gate.clear()
        self.held = self.tell("held")
        eventually(lambda: self.ledger.commits == [1])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger.open(sqlite_url(tmp_path / "ledger.db"))
    made = Desk(ledger)
    yield made
    made.ledger.gate.set()
    made.journal.close()
    ledger.close()


def test_an_event_is_in_the_ledger_once_its_future_is_done(desk: Desk) -> None:
    desk.tell("a", **{"event.queued": 1}).result(20)
    assert set(desk.ledger.real.dirty(["a"])) == {"a"}
    assert desk.ledger.real.event_totals().by_status == {"queued": 1}
    assert desk.rings == 1


def test_what_comes_during_a_commit_shares_the_next_one(desk: Desk) -> None:
    desk.hold()
    told = [desk.tell(f"k{number}", n=1) for number in range(100)]
    desk.ledger.gate.set()
    wait([desk.held, *told], 20)
    assert desk.ledger.commits == [1, 100]
    assert desk.ledger.real.dirty_count() == 101


def test_a_group_has_a_bound_and_an_entry_is_never_split(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "GROUP", 10)
    desk.hold()
    told = [
        desk.tell(*(f"{entry}/{number}" for number in range(size)))
        for entry, size in enumerate((6, 4, 3, 25, 1))
    ]
    desk.ledger.gate.set()
    wait(told, 20)
    assert desk.ledger.commits == [1, 10, 3, 25, 1]


def test_beyond_the_bound_senders_are_asked_to_come_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "WAITING", 3)
    desk.hold()
    kept = [desk.tell("a"), desk.tell("b", "c")]
    with pytest.raises(JournalFull, match="3 events wait") as caught:
        desk.tell("d")
    assert caught.value.retryable and "Retry-After" in caught.value.hint
    desk.ledger.gate.set()
    wait(kept, 20)
    desk.tell("d").result(20)
    assert set(desk.ledger.real.dirty(["a", "b", "c", "d"])) == {"a", "b", "c", "d"}


def test_any_number_is_admitted_when_nothing_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "WAITING", 3)
    desk.tell(*"abcdefg").result(20)
    assert desk.ledger.real.dirty_count() == 7


def test_a_commit_that_fails_is_told_to_every_sender_and_the_next_one_works(desk: Desk) -> None:
    desk.ledger.error = LedgerBusy("locked")
    for future in (desk.tell("a"), desk.tell("b")):
        with pytest.raises(LedgerBusy, match="locked"):
            future.result(20)
    assert desk.rings == 0
    desk.ledger.error = None
    desk.tell("a").result(20)


@pytest.mark.parametrize("error", [LedgerError("value too long"), ValueError("a mistake")])
def test_an_entry_that_the_ledger_refuses_takes_no_other_with_it(
    desk: Desk, error: Exception
) -> None:
    desk.ledger.refused["bad"] = error
    desk.hold()
    good = [f"k{number:03}" for number in range(100)]
    told = {key: desk.tell(key) for key in [*good[:70], "bad", *good[70:]]}
    desk.ledger.gate.set()
    assert told.pop("bad").exception(20) is error
    assert [future.result(20) for future in told.values()] == [None] * 100
    assert len(desk.ledger.real.dirty(good)) == 100
    assert len(desk.ledger.commits) < 20  # halves, not one entry after the other


@pytest.mark.parametrize("error", [LedgerBusy("locked"), DiskFull("no space")])
def test_what_is_no_fault_of_an_entry_is_not_tried_again_in_parts(
    desk: Desk, error: Exception
) -> None:
    desk.hold()
    told = [desk.tell(key) for key in "abc"]
    desk.ledger.error = error
    desk.ledger.gate.set()
    assert [future.exception(20) for future in told] == [error] * 3
    assert desk.ledger.commits == [1, 3]


def test_a_key_that_is_none_takes_no_other_with_it(desk: Desk) -> None:
    desk.hold()
    good, bad, also = desk.tell("a"), desk.tell("\udcff"), desk.tell("b")
    desk.ledger.gate.set()
    with pytest.raises(KeyRejected):
        bad.result(20)
    wait([good, also], 20)
    assert set(desk.ledger.real.dirty(["a", "b"])) == {"a", "b"}


def test_a_sender_that_does_not_listen_keeps_nothing_from_the_others(desk: Desk) -> None:
    def deaf(_: Exception | None) -> None:
        raise RuntimeError("gone")

    desk.hold()
    desk.journal.submit([Entry([EventNote("a", "put", 1.0)], {}, 1.0, deaf)])
    there = desk.tell("b")
    desk.ledger.gate.set()
    there.result(20)
    desk.tell("c").result(20)
    assert set(desk.ledger.real.dirty(["a", "b", "c"])) == {"a", "b", "c"}


def test_closing_writes_what_waits_and_takes_nothing_more(desk: Desk) -> None:
    desk.hold()
    told = desk.tell("a")
    desk.ledger.gate.set()
    desk.journal.close()
    assert told.done() and told.exception() is None
    with pytest.raises(Interrupted):
        desk.tell("b")


def journal_delays(desk: Desk) -> int:
    return desk.ledger.real.event_totals().histograms["journal"].count


def test_the_wait_for_the_journal_is_measured(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "QUIET_SECONDS", 0.01)
    desk.tell("a").result(20)
    eventually(lambda: journal_delays(desk) == 1)


def test_a_journal_that_is_never_idle_writes_its_delays_with_the_next_commit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "QUIET_SECONDS", 60.0)
    for number in range(5):
        desk.tell(f"k{number}").result(20)
        assert journal_delays(desk) == number
    assert len(desk.ledger.commits) == 5
    desk.journal.close()
    assert journal_delays(desk) == 5


def test_without_a_thread_nothing_is_promised_and_the_next_one_is_taken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_threads(monkeypatch, "journal"):
        with pytest.raises(JournalFull, match="can't start new thread"):
            desk.tell("a")
    desk.ledger.gate.set()
    desk.tell("b").result(20)
    assert set(desk.ledger.real.dirty(["a", "b"])) == {"b"}
