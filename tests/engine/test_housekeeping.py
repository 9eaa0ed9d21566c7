"""Clearing away keeps nobody waiting, and does not outlive the service."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from datasync.errors import LedgerBusy, LedgerError
from datasync.models.sync_models import RunKind, RunStatus, SyncOptions
from datasync.services.engine import housekeeping
from datasync.services.engine.housekeeping import Housekeeping
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Emptied, Mirror
from datasync.utils.logger import close_logging, configure_logging
from tests.support import fail
from tests.support.threads import no_threads
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
    return Housekeeping(
        world.mirror,
        world.ledger,
        SyncOptions("bucket", trash_retention_seconds=0.0),
        problems.append,
    )


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
    eventually(lambda: world.bucket.counts["get"] >= 1)
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
    house.look(hour - 1.0)  # the time of another look at the room on the disk
    house.join(10)
    assert not long_pruning.begun.is_set()
    house.look(hour)
    assert long_pruning.begun.wait(10)
    house.join(10)


def test_room_is_looked_for_every_minute_and_the_trash_weighed_once_an_hour(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def shrink(*_: object, max_percent: float | None) -> Emptied:
        asked.append(max_percent)
        return Emptied()

    monkeypatch.setattr(Mirror, "shrink_trash", shrink)
    for now in (0.0, 59.0, 60.0, 61.0, 120.0, 3600.0, 3601.0):
        house.look(now)
        house.join(10)
    assert asked == [25.0, None, None, 25.0]


def test_what_had_to_go_before_its_time_is_told(
    house: Housekeeping, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Mirror, "shrink_trash", lambda *_, **__: Emptied(files=3, bytes=12))
    configure_logging("INFO", None, "json")
    try:
        house.look(0.0)
        house.join(10)
    finally:
        close_logging()
    [line] = capsys.readouterr().err.splitlines()
    assert "before its time" in line and '"files": 3' in line


def test_a_full_disk_is_relieved_and_downloads_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full as long as the trash has a file of some years ago."""
    old = world.root / ".datasync/trash/20200101T000000Z-events/old"
    old.parent.mkdir()
    old.write_bytes(os.urandom(100_000))
    really = os.statvfs

    def full(where: int) -> os.statvfs_result:
        counts = list(really(where))
        if old.exists():
            counts[4] = 0  # free for this user
        return os.statvfs_result(counts)

    monkeypatch.setattr(os, "statvfs", full)
    world.reopen(trash_retention_seconds=1e9, trash_max_percent=100.0)
    world.bucket.put("new", b"y")
    world.service.mark([("new", "event")])
    world.service.start()
    eventually(lambda: world.tree().get("new") == b"y", 20)
    assert not old.exists()


def test_without_a_thread_it_says_so_and_begins_later(
    house: Housekeeping, problems: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_threads(monkeypatch, "housekeeping"):
        house.look(0.0)
    assert ["no thread can be started" in str(each) for each in problems] == [True]
    assert not house.busy
    house.join(1.0)
    house.look(1e9)
    house.join(20.0)
    assert len(problems) == 1


def test_a_run_that_no_thread_can_be_had_for_waits(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the engine goes on leading: events are looked at meanwhile."""
    live.bucket.put("a", b"x")
    with no_threads(monkeypatch, "run-"):
        run, _ = live.service.request_run(RunKind.RECONCILE)
        eventually(lambda: "no thread can be started" in str(live.service.last_problem))
        live.service.mark([("a", "event")])
        eventually(lambda: live.ledger.get("a"))
        assert live.service.leading
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)
