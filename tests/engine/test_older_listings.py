"""A run's listing is older than events that come meanwhile: it neither hides nor undoes them."""

import os
import time
from dataclasses import replace

import pytest

from datasync.models.sync_models import RunKind, RunStatus, Settlement, State
from tests.support import fail
from tests.support.world import World, eventually


def settled(world: World) -> bool:
    return world.ledger.dirty_count() == 0


def replace_and_tell(world: World, key: str, body: bytes) -> None:
    world.bucket.put(key, body)
    world.service.mark([(key, "event")])


# Only what S3 says of the key itself satisfies a mark


@pytest.mark.parametrize("kind", list(RunKind))
def test_an_adoption_from_an_older_listing_leaves_the_mark(world: World, kind: RunKind) -> None:
    world.bucket.put("a", b"old")
    world.sync()
    if kind is RunKind.RECONCILE:
        os.utime(world.file("a"))
    world.bucket.list_before(lambda: replace_and_tell(world, "a", b"new"))
    run = world.sync(kind=kind)
    assert run.counts.downloaded == 0
    assert world.file("a").read_bytes() == b"new"
    assert world.in_sync


ODD = "../never/was"


def forged(world: World, key: str = ODD) -> None:
    """An event of a key that is not there, and that S3 answers with 400, as some servers do."""
    world.bucket.script(key, fail.status(400, times=99))
    world.service.mark([(key, "forged event")])
    world.sync()
    assert [mark.key for mark in world.ledger.failing_marks()] == [key]


def test_a_mark_of_a_key_that_is_nowhere_ends_with_the_next_listing(world: World) -> None:
    world.bucket.put("a", b"a")
    forged(world)
    assert not world.in_sync
    assert world.sync().status is RunStatus.SUCCESS
    assert world.ledger.dirty_count() == 0
    assert world.in_sync


def test_a_mark_outlives_a_listing_that_s3_refutes(world: World) -> None:
    """What is left out of a listing that leaves things out may be there."""
    for number in range(9):
        world.bucket.put(f"k{number}", b"x")
    world.sync()
    forged(world, "new")
    hidden = world.bucket.objects.pop("k5")
    come_back = fail.before(lambda: world.bucket.objects.__setitem__("k5", hidden))
    world.bucket.script("k5", come_back)
    world.bucket._sorted = None
    assert world.sync().status is RunStatus.PARTIAL
    assert set(world.ledger.dirty(["new"])) == {"new"}
    world.bucket._sorted = None
    assert world.sync().status is RunStatus.SUCCESS
    assert world.ledger.dirty_count() == 0


def test_a_mark_outlives_a_listing_that_is_held_in_doubt(world: World) -> None:
    for number in range(20):
        world.bucket.put(f"k{number}", b"x")
    world.sync()
    forged(world, "new")
    world.bucket.list_empty()
    assert world.sync().status is RunStatus.HELD
    assert set(world.ledger.dirty(["new"])) == {"new"}


def test_a_mark_outside_the_prefix_of_the_run_is_not_judged(world: World) -> None:
    forged(world)
    world.sync("a/")
    assert world.ledger.dirty_count() == 1


def test_a_mark_newer_than_the_run_is_kept(world: World) -> None:
    forged(world)
    world.bucket.list_before(lambda: world.service.mark([(ODD, "event")]))
    world.sync()
    assert world.ledger.dirty_count() == 1


def test_a_failing_key_that_is_listed_keeps_its_mark(world: World) -> None:
    world.bucket.put("a", b"a")
    world.bucket.script("a", fail.status(400, times=99))
    world.service.mark([("a", "event")])
    world.sync()
    world.sync()
    assert world.ledger.dirty_count() == 1
    assert not world.in_sync


def test_a_row_that_is_forgotten_leaves_the_mark(world: World) -> None:
    world.bucket.put("other", b"x")
    world.bucket.put("a", b"cold", storage_class="GLACIER")
    world.sync()
    world.bucket.delete("a")
    world.bucket.list_before(lambda: replace_and_tell(world, "a", b"warm"))
    world.sync()
    world.assert_equal()
    assert world.row("a").state is State.SYNCED


# What events bring is no surprise of the run


def test_files_that_events_bring_during_a_run_do_not_hold_it(live: World) -> None:
    live.bucket.put("a", b"x")

    def bring_many() -> None:
        for number in range(12):
            replace_and_tell(live, f"log-{number:02}", b"x")
        eventually(lambda: settled(live))

    live.bucket.list_before(bring_many)
    run = live.perform()
    assert (run.status, run.deletes_planned, run.counts.deleted) == (RunStatus.SUCCESS, 12, 0)
    live.assert_equal()


def test_files_that_were_there_before_still_hold_it(live: World) -> None:
    for number in range(12):
        live.bucket.put(f"log-{number:02}", b"x")
    live.perform()
    live.bucket.objects.clear()
    live.bucket._sorted = None
    live.bucket.list_before(lambda: replace_and_tell(live, "new", b"x"))
    assert live.perform().status is RunStatus.HELD
    eventually(lambda: len(live.tree()) == 13)


@pytest.mark.parametrize("listed", [True, False])
def test_a_change_that_an_event_told_of_is_no_drift(live: World, listed: bool) -> None:
    live.bucket.put("a", b"x")
    live.bucket.put("z", b"x")
    live.perform()
    key = "a" if listed else "b"  # one that the listing has in its older version, or not at all

    def change() -> None:
        replace_and_tell(live, key, b"changed")
        eventually(lambda: settled(live))

    live.bucket.list_before(change)
    run = live.perform()
    assert (run.status, run.counts.drift) == (RunStatus.SUCCESS, 0)
    live.assert_equal()


def test_a_key_that_waits_for_its_next_try_is_asked_for_by_a_run(world: World) -> None:
    """Its file may be the new version already: to prove it by the listing clears no mark."""
    world.bucket.put("a", b"old")
    world.sync()
    world.bucket.put("a", b"new")
    world.file("a").write_bytes(b"new")
    world.ledger.mark({"a": "event"}, 1.0)
    (mark,) = world.ledger.due(1.0, 9)
    later = replace(mark, attempts=1, not_before=time.time() + 1000.0, last_error="it failed")
    world.ledger.settle(Settlement(deferred=(later,)))
    assert world.sync().status is RunStatus.SUCCESS
    assert world.in_sync and world.ledger.dirty(["a"]) == {}
    world.assert_equal()
