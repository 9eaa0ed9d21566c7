"""A disk with too little room: downloads pause before it is full, all else goes on, and they
go on by themselves when there is room again."""

import errno
import threading
from dataclasses import replace
from typing import Any

import pytest

from datasync.errors import DiskFull, LedgerError
from datasync.models.sync_models import (
    ListedObject,
    Operation,
    Outcome,
    OutcomeStatus,
    RunStatus,
    Settlement,
)
from datasync.services.engine import dispatch, outcomes, runner, shortage
from datasync.services.engine.group import Done
from datasync.services.engine.shortage import LOOK_SECONDS, Shortage
from datasync.services.engine.tasks import Task
from datasync.services.storage import emptying
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from tests.support.disk import Space
from tests.support.world import World, eventually

MIB = 2**20
LOW = 1 * MIB - 1  # of 100 MiB, with 1 % to be kept free
ROOMY = 90 * MIB


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> Space:
    return Space(monkeypatch, ROOMY)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is looked at every moment."""
    monkeypatch.setattr(shortage, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(runner, "TURN_SECONDS", 0.05)


# What is promised


def test_what_is_on_its_way_counts_as_written(world: World, space: Space) -> None:
    mirror = world.mirror
    first, second = mirror.stage(40 * MIB), mirror.stage(40 * MIB)
    with pytest.raises(DiskFull, match="80.0 MiB of them promised"):
        mirror.stage(10 * MIB)
    with pytest.raises(DiskFull):
        mirror.require_room(10 * MIB)
    first.write(bytes(MIB))  # the disk says so itself from now on
    space.free -= MIB
    with pytest.raises(DiskFull, match="79.0 MiB of them promised"):
        mirror.stage(10 * MIB)
    second.discard()
    second.discard()
    mirror.stage(10 * MIB).discard()
    first.discard()
    with pytest.raises(DiskFull, match="are free, 89.0 MiB are needed"):
        mirror.stage(89 * MIB)
    assert mirror.check() is None


def test_more_bytes_than_announced_give_nothing_back_twice(world: World, space: Space) -> None:
    with world.mirror.stage(10) as staged:
        staged.write(bytes(30))
    with pytest.raises(DiskFull, match="^(?!.*promised)"):
        world.mirror.stage(ROOMY)


def test_a_file_that_cannot_be_made_takes_no_room(
    world: World, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.mirror.stage().discard()
    with monkeypatch.context() as patch:
        patch.setattr("os.fstat", _refuse)
        with pytest.raises(DiskFull):
            world.mirror.stage(80 * MIB)
    world.mirror.stage(80 * MIB).discard()
    world.assert_nothing_staged()


def _refuse(_: int) -> None:
    raise OSError(errno.EDQUOT, "quota")


# What goes on meanwhile


def test_a_run_asks_for_nothing_that_does_not_fit_and_deletes_all_the_same(
    world: World, space: Space
) -> None:
    for key in ("kept", "changed", "gone"):
        world.bucket.put(key, b"old")
    world.sync()
    world.bucket.put("changed", b"new")
    world.bucket.put("new", b"new")
    world.bucket.delete("gone")
    space.free = LOW
    world.bucket.counts.clear()
    run = world.sync()
    assert run.status is RunStatus.PARTIAL
    assert (run.counts.deleted, run.counts.failed) == (1, 2)
    assert world.tree() == {"kept": b"old", "changed": b"old"}
    assert world.bucket.counts["get"] == 1  # whether "gone" is
    failed = {failure.key: failure.reason for failure in world.ledger.failures()}
    assert set(failed) == {"changed", "new"}
    assert "1 % (1.0 MiB) must stay free" in failed["new"]


def test_what_fits_is_fetched_beside_what_does_not(world: World, space: Space) -> None:
    space.free = 3 * MIB
    world.bucket.put("large", bytes(5 * MIB))
    world.bucket.put("small", b"fits")
    assert world.sync().status is RunStatus.PARTIAL
    assert world.tree() == {"small": b"fits"}
    assert world.bucket.counts["get"] == 1


def test_events_of_deletes_are_dealt_with_and_others_wait(
    world: World, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "defer_seconds", lambda *_: 3600.0)
    world.bucket.put("a", b"old")
    world.bucket.put("b", b"old")
    world.sync()
    world.service.start()
    space.free = LOW
    world.bucket.delete("a")
    world.bucket.put("b", b"new")
    world.service.mark([("a", "event"), ("b", "event")])
    eventually(lambda: world.ledger.dirty(["b"])["b"].attempts == 1)
    eventually(lambda: world.trash() == ["a"])
    assert world.tree() == {"b": b"old"}
    assert (world.ledger.dirty(["b"])["b"].last_error or "").startswith("DiskFull: ")


def test_old_trash_goes_on_a_disk_too_full_for_the_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    world.bucket.put("b", b"x")
    world.sync()
    world.bucket.delete("a")
    world.sync()
    assert world.trash() == ["a"]
    world.reopen(interval_seconds=3600.0, trash_retention_seconds=-1e9)
    full = DiskFull("database or disk is full")
    for write in ("request_run", "interrupt_runs"):
        monkeypatch.setattr(Ledger, write, _raising(full))
    walk, look, waited_for = emptying.prune, Mirror.check, threading.Event()

    def looked(mirror: Mirror) -> DiskFull | None:
        waited_for.set()
        return look(mirror)

    def slowly(*arguments: Any) -> emptying.Emptied:
        assert waited_for.wait(10)  # the start has failed, and looks for the room it is to get
        return walk(*arguments)

    monkeypatch.setattr(Mirror, "check", looked)
    monkeypatch.setattr(emptying, "prune", slowly)
    world.service.start()
    eventually(lambda: world.trash() == [])


def _raising(error: Exception):  # type: ignore[no-untyped-def]
    def call(*_: object, **__: object) -> None:
        raise error

    return call


# Going on


@pytest.mark.usefixtures("soon")
def test_all_goes_on_by_itself_once_there_is_room(
    world: World, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "defer_seconds", lambda *_: 3600.0)
    world.service.start()
    space.free = LOW
    world.bucket.put("listed", b"x")
    world.bucket.put("told", b"x")
    run = world.perform()
    world.service.mark([("told", "event")])
    eventually(lambda: world.ledger.dirty(["told"])["told"].attempts == 1)
    assert run.status is RunStatus.PARTIAL
    assert (world.tree(), world.in_sync) == ({}, False)
    space.free = ROOMY
    eventually(lambda: world.in_sync)
    world.assert_equal()
    assert world.ledger.dirty_count() == 0


@pytest.mark.usefixtures("soon")
def test_a_run_goes_on_only_where_it_was_to_look(world: World, space: Space) -> None:
    world.service.start()
    space.free = LOW
    world.bucket.put("in/a", b"x")
    world.bucket.put("out/a", b"x")
    run, _ = world.service.request_run(prefix="in/")
    eventually(lambda: world.ledger.run(run.id).finished is not None)
    space.free = ROOMY
    eventually(lambda: world.tree() == {"in/a": b"x"})
    eventually(lambda: world.ledger.runs(1)[0].finished is not None)
    assert [run.prefix for run in world.ledger.runs()] == ["in/", "in/"]


def _short(size: int | None = None, run_id: int | None = 1) -> Done:
    listed = None if size is None else ListedObject("k", size, "e", 0)
    outcome = Outcome("k", Operation.DOWNLOAD, OutcomeStatus.FAILED, "", 0.0, error="DiskFull")
    return Done(Task("k", listed=listed, run_id=run_id), outcome, None)


class TestShortage:
    def test_it_is_over_when_the_smallest_fits(self) -> None:
        lack, asked = Shortage(), list[int]()
        lack.note([_short(500), _short(20, run_id=2), _short(300)], now=0.0)
        assert lack.over(1.0, lambda size: True) is None  # too soon

        def fits(size: int) -> bool:
            asked.append(size)
            return len(asked) == 2

        assert lack.over(LOOK_SECONDS, fits) is None
        assert lack.over(LOOK_SECONDS + 1, fits) is None  # not looked at again so soon
        assert lack.over(2 * LOOK_SECONDS, fits) == {1, 2}
        assert lack.over(99.0, fits) is None
        assert asked == [20, 20]

    def test_other_failures_are_none(self) -> None:
        lack = Shortage()
        other = _short(1)
        assert other.outcome is not None
        lack.note([Done(other.task, replace(other.outcome, error="ServerFault"), None)], 0.0)
        lack.note([Done(other.task, None, None)], 0.0)
        assert lack.over(1e9, lambda _: True) is None

    def test_a_disk_that_has_room_and_refuses_is_tried_ever_more_rarely(self) -> None:
        lack, tried = Shortage(), list[int]()
        lack.note([_short()], 0.0)
        for second in range(24 * 3600):
            if lack.over(float(second), lambda _: True) is not None:
                tried.append(second)
                lack.note([_short()], float(second))
        pauses = [later - sooner for sooner, later in zip(tried, tried[1:], strict=False)]
        assert pauses[:4] == [10, 20, 40, 80]
        assert pauses[-1] == 3600
        assert len(tried) < 40

    def test_after_a_calm_time_it_is_quick_again(self) -> None:
        lack = Shortage()
        now = 0.0
        for _ in range(5):
            lack.note([_short()], now)
            while lack.over(now, lambda _: True) is None:
                now += 1
        now += 100_000
        lack.note([_short()], now)
        assert lack.over(now + LOOK_SECONDS, lambda _: True) == {1}
        lack.note([_short()], now + LOOK_SECONDS)
        assert lack.over(now + 3 * LOOK_SECONDS, lambda _: True) == {1}


# A ledger that takes nothing


def test_keys_whose_outcome_cannot_be_recorded_are_fetched_ever_more_rarely(world: World) -> None:
    now = [1000.0]
    shop: Any = _Nobody()
    desk = dispatch.Dispatcher(
        world.mirror, world.ledger, world.options, shop, steady=lambda: now[0]
    )
    world.ledger.mark({"a": "event"}, 1.0)
    pauses = []
    for _ in range(8):
        assert desk.dispatch() == 1
        desk.settled([Done(Task("a", urgent=True), None, None, LedgerError("full"))])
        began = now[0]
        while not desk.dispatch():
            now[0] += 1.0
        desk.settled([Done(Task("a", urgent=True), None, None)])  # interrupted: no sign of life
        pauses.append(now[0] - began)
    assert pauses == [2, 4, 8, 16, 32, 64, 64, 64]
    assert desk.dispatch() == 1
    desk.settled([replace(_short(), task=Task("a", urgent=True))])
    assert desk.dispatch() == 1
    desk.settled([Done(Task("a", urgent=True), None, None, LedgerError("full"))])
    now[0] += 2.0
    assert desk.dispatch() == 1


class _Nobody:
    def submit_urgent(self, tasks: object) -> None:
        pass


# Clocks


def test_files_of_a_time_to_come_count_when_deletes_are_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        world.bucket.put(f"{number:02}", b"x")
    world.sync()
    rows = world.ledger.rows()
    ahead = tuple(replace(row, synced_at=(row.synced_at or 0.0) + 86_400) for row in rows)
    world.ledger.settle(Settlement(rows=ahead))  # the clock was set back a day since
    for number in range(20):
        world.bucket.delete(f"{number:02}")
    run = world.sync()
    assert (run.status, run.deletes_planned) == (RunStatus.HELD, 20)
    assert len(world.tree()) == 30
