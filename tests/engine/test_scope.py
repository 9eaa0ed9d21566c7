"""S3_PREFIX, the prefixes of runs, and what one that changes leaves behind."""

import threading

import pytest

from datasync.models.sync_models import RunStatus
from datasync.services.storage.ledger import Ledger
from tests.support import fail
from tests.support.world import World

# Another S3_PREFIX


def test_keys_outside_a_new_prefix_speak_no_more_against_the_mirror(world: World) -> None:
    for key in ("in/a", "out/b", "out/c"):
        world.bucket.put(key, key.encode())
    world.bucket.script("out/b", fail.status(403, times=9))
    world.service.mark([("out/b", "event")])
    assert world.sync().status is RunStatus.PARTIAL
    assert world.ledger.dirty(["out/b"])  # deferred: its next try would be due only later
    world.reopen(prefix="in/")
    assert world.sync().status is RunStatus.SUCCESS
    totals = world.ledger.totals()
    assert (totals.objects, totals.bytes, totals.failed, totals.pending) == (1, 4, 0, 0)
    assert world.in_sync


def test_files_outside_a_new_prefix_are_nobodys_and_stay(world: World) -> None:
    world.bucket.put("in/a", b"x")
    world.bucket.put("out/b", b"y")
    world.sync()
    world.reopen(prefix="in/")
    world.bucket.delete("out/b")
    world.sync()
    assert world.tree() == {"in/a": b"x", "out/b": b"y"}
    assert world.trash() == []


def test_a_wider_prefix_adopts_them_again(world: World) -> None:
    world.bucket.put("in/a", b"x")
    world.bucket.put("out/b", b"y")
    world.sync()
    gets = world.bucket.counts["get"]
    for prefix in ("in/", ""):
        world.reopen(prefix=prefix)
        run = world.sync()
    assert (run.counts.adopted, world.bucket.counts["get"]) == (1, gets)
    world.assert_equal()


def test_many_keys_outside_are_forgotten_a_piece_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        world.bucket.put(f"out/{number:02}")
    world.sync()
    forget, pieces = Ledger.forget_outside, list[int]()

    def in_small_pieces(ledger: Ledger, prefix: str) -> int:
        pieces.append(forget(ledger, prefix, 10))
        return pieces[-1]

    monkeypatch.setattr(Ledger, "forget_outside", in_small_pieces)
    world.reopen(prefix="in/")
    world.sync()
    assert pieces == [10, 10, 5, 0]
    assert world.ledger.rows() == []


def test_an_unchanged_prefix_writes_nothing_at_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reopen(prefix="in/")
    world.bucket.put("in/a", b"x")
    world.sync()
    written: list[object] = []
    monkeypatch.setattr(Ledger, "_forget", lambda *more: written.append(more))
    world.sync()
    assert written == [] and world.ledger.get("in/a") is not None


def test_a_stop_ends_the_forgetting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def forget(*_: object) -> int:
        begun.set()
        return 1

    monkeypatch.setattr(Ledger, "forget_outside", forget)
    world.service.start()
    assert begun.wait(10)
    world.service.stop(10)
    assert "runner" not in {one.name for one in threading.enumerate()}


# Held plans of other prefixes


def held(world: World, prefix: str) -> int:
    run = world.sync(prefix)
    assert run.status is RunStatus.HELD
    return run.id


@pytest.fixture
def two_held(world: World) -> tuple[int, int]:
    """Two held runs, of the prefixes `a/` and `b/`; the objects are back since."""
    for key in ("a/1", "b/1"):
        world.bucket.put(key, b"x")
    world.sync()
    for key in ("a/1", "b/1"):
        world.bucket.delete(key)
    found = held(world, "a/"), held(world, "b/")
    for key in ("a/1", "b/1"):
        world.bucket.put(key, b"x")
    return found


def test_a_run_supersedes_an_older_plan_of_its_prefix_beside_a_newer_one(
    world: World, two_held: tuple[int, int]
) -> None:
    first, second = two_held
    assert world.sync("a/").status is RunStatus.SUCCESS
    assert world.status(first) is RunStatus.CANCELLED
    assert world.status(second) is RunStatus.HELD
    assert world.ledger.planned_deletes(first) == []
    assert len(world.ledger.planned_deletes(second)) == 1


def test_a_run_over_everything_supersedes_all_of_them(
    world: World, two_held: tuple[int, int]
) -> None:
    assert world.sync().status is RunStatus.SUCCESS
    assert {world.status(run_id) for run_id in two_held} == {RunStatus.CANCELLED}
    assert world.in_sync


@pytest.mark.parametrize("prefix", ["", "in/"])
def test_the_whole_scope_is_the_same_by_either_name(world: World, prefix: str) -> None:
    world.reopen(prefix="in/")
    world.bucket.put("in/a", b"x")
    world.sync()
    world.bucket.delete("in/a")
    first = held(world, "" if prefix else "in/")
    world.bucket.put("in/a", b"x")
    assert world.sync(prefix).status is RunStatus.SUCCESS
    assert world.status(first) is RunStatus.CANCELLED


def test_a_plan_of_an_earlier_prefix_is_superseded_too(
    world: World, two_held: tuple[int, int]
) -> None:
    world.reopen(prefix="a/")
    world.sync()
    assert {world.status(run_id) for run_id in two_held} == {RunStatus.CANCELLED}
    assert world.in_sync
