"""Clearing away keeps nobody waiting, and does not outlive the service."""

import threading
from collections.abc import Callable, Iterator

import pytest

from datasync.errors import LedgerBusy, LedgerError
from datasync.services.engine import housekeeping
from datasync.services.engine.housekeeping import Housekeeping
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from tests.support import fail
from tests.support.world import World, eventually

MIB = 2**20


class LongPruning:
    """A trash that takes until `gate` to be emptied."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()

    def __call__(self, mirror: Mirror, *_: object) -> int:
        self.begun.set()
        self.gate.wait()
        return 0


@pytest.fixture
def long_pruning(monkeypatch: pytest.MonkeyPatch) -> Iterator[LongPruning]:
    made = LongPruning()
    monkeypatch.setattr(Mirror, "prune_trash", lambda mirror, *more: made(mirror, *more))
    yield made
    made.gate.set()


def cleaners() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "housekeeping"]


@pytest.fixture
def problems() -> list[Exception]:
    return []


@pytest.fixture
def house(world: World, problems: list[Exception]) -> Housekeeping:
    return Housekeeping(world.mirror, world.ledger, 0.0, problems.append)


def test_an_event_does_not_wait_for_a_long_clearing(
    world: World, long_pruning: LongPruning
) -> None:
    world.service.start()
    assert long_pruning.begun.wait(10)
    world.bucket.put("a", b"x")
    world.service.mark([("a", "event")])
    eventually(lambda: world.ledger.get("a"))


def test_a_stop_does_not_wait_for_a_long_clearing(
    world: World, long_pruning: LongPruning, never: threading.Event
) -> None:
    world.bucket.put("big", bytes(20 * MIB))
    world.bucket.script("big", fail.pause_until(never, at=100))
    world.service.start()
    assert long_pruning.begun.wait(10)
    world.service.request_run()
    eventually(lambda: world.bucket.counts["get"] == 1)
    world.service.stop(4)
    names = {one.name for one in threading.enumerate()}
    assert not names & {"runner", "commit", "transfer-0", "transfer-1"}
    world.assert_nothing_staged()


def test_what_outlives_a_stop_touches_nothing_more(
    house: Housekeeping,
    problems: list[Exception],
    long_pruning: LongPruning,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pruned: list[Ledger] = []
    monkeypatch.setattr(Ledger, "prune", lambda ledger, *_, **__: pruned.append(ledger))
    house.look(0.0)
    assert long_pruning.begun.wait(10)
    house.stop()
    house.join(0.0)
    long_pruning.gate.set()
    house.join(10)
    assert (cleaners(), pruned, problems) == ([], [], [])


@pytest.mark.parametrize("which", ["trash", "history"])
def test_one_that_fails_does_not_keep_the_other_from_its_turn(
    world: World,
    house: Housekeeping,
    problems: list[Exception],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
) -> None:
    done: list[str] = []

    def step(name: str) -> Callable[..., None]:
        def clear(*_: object, **__: object) -> None:
            done.append(name)
            if name == which:
                raise LedgerBusy("a moment, please")

        return clear

    monkeypatch.setattr(Mirror, "prune_trash", step("trash"))
    monkeypatch.setattr(Ledger, "prune", step("history"))
    house.look(0.0)
    house.join(10)
    assert (done, [type(one) for one in problems]) == (["trash", "history"], [LedgerBusy])


def test_an_error_that_a_stop_has_caused_is_not_told(
    world: World, house: Housekeeping, problems: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object) -> int:
        house.stop()
        raise LedgerError("the ledger is closed")

    monkeypatch.setattr(Mirror, "prune_trash", closed)
    house.look(0.0)
    house.join(10)
    assert problems == []


def test_it_is_done_once_an_hour_and_never_twice_at_once(
    house: Housekeeping, long_pruning: LongPruning
) -> None:
    hour = housekeeping.HOUSEKEEPING_SECONDS
    house.look(0.0)
    house.look(hour)  # the first one is not over
    assert len(cleaners()) == 1
    long_pruning.gate.set()
    house.join(10)
    long_pruning.begun.clear()
    house.look(hour - 1.0)
    assert not cleaners()
    house.look(hour)
    assert long_pruning.begun.wait(10)
    house.join(10)
