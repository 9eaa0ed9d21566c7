"""A file is called unchanged only when somebody has looked at it, or proved it."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from datasync.errors import NetworkFailure
from datasync.models.sync_models import DirtyKey, RunKind, RunStatus, State
from datasync.services.storage.ledger import Ledger
from tests.support import fail
from tests.support.world import World, eventually


def overwrite_unseen(world: World, key: str, body: bytes) -> None:
    """Change a file so that no stat shows it."""
    file = world.file(key)
    times = file.stat()
    file.write_bytes(body)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def hide_from_the_next_listing(world: World, key: str) -> None:
    stored = world.bucket.objects[key]
    world.bucket.delete(key)
    world.bucket.list_before(lambda: world.bucket.put(key, stored.body))


# Keys that the listing forgot


def test_a_lost_file_of_an_unlisted_key_is_not_called_unchanged(world: World) -> None:
    world.bucket.put("a", b"x")
    world.bucket.put("b", b"x")
    world.sync()
    world.file("a").unlink()
    hide_from_the_next_listing(world, "a")
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_known_rot_in_a_file_of_an_unlisted_key_is_not_called_unchanged(world: World) -> None:
    world.bucket.put("a", b"right")
    world.bucket.put("z", b"z")
    world.sync()
    overwrite_unseen(world, "a", b"wrong")
    world.bucket.script("a", fail.error(NetworkFailure("down"), times=3), method="GET")
    assert world.sync(kind=RunKind.VERIFY).status is RunStatus.PARTIAL
    hide_from_the_next_listing(world, "a")
    world.sync()
    world.assert_equal()


# A look that waited for another one of the same key


@pytest.fixture
def behind_an_event(live: World) -> Callable[[RunKind], None]:
    """Do a run whose look at the key `a` waits until an event's look at it is over."""

    def perform(kind: RunKind) -> None:
        gate = threading.Event()
        live.bucket.script("a", fail.pause_until(gate))
        gets = live.bucket.counts["get"]
        live.service.mark([("a", "event")])
        eventually(lambda: live.bucket.counts["get"] == gets + 1)
        run, _ = live.service.request_run(kind)
        eventually(lambda: live.ledger.run(run.id).counts.planned >= 1)
        gate.set()
        eventually(lambda: live.ledger.run(run.id).finished is not None)

    return perform


@pytest.mark.parametrize("refusal", ["archived", "too large"])
def test_a_refusal_says_nothing_of_the_file_that_is_there(
    live: World, behind_an_event: Callable[[RunKind], None], refusal: str
) -> None:
    stored = live.bucket.put("a", b"right")
    live.bucket.put("z", b"z")
    live.perform()
    if refusal == "archived":
        live.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    else:
        live.reopen(max_bytes=4)
        live.service.start()
    live.file("a").write_bytes(b"wrong!!")
    behind_an_event(RunKind.RECONCILE)
    assert live.row("a").state is State.STALE
    assert not live.in_sync


def test_a_file_to_be_verified_is_proved_although_an_event_found_it_unchanged(
    live: World, behind_an_event: Callable[[RunKind], None]
) -> None:
    live.bucket.put("a", b"right")
    live.bucket.put("z", b"z")
    live.perform()
    overwrite_unseen(live, "a", b"wrong")
    behind_an_event(RunKind.VERIFY)
    live.assert_equal()


# An answer about another file than the one that is held by now


@pytest.mark.parametrize("meanwhile", ["replaced", "deleted"])
def test_a_304_about_a_version_that_is_no_longer_held_is_asked_again(
    live: World, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    live.bucket.put("a", b"A")
    live.bucket.put("z", b"z")
    live.perform()
    live.bucket.put("a", b"B")
    dirty, pending = Ledger.dirty, [True]

    def come_and_go(ledger: Ledger, keys: Sequence[str]) -> dict[str, DirtyKey]:
        if "a" in keys and pending:
            pending.pop()
            if meanwhile == "deleted":
                live.bucket.delete("a")
            live.service.mark([("a", "event")])
            eventually(lambda: live.ledger.dirty_count() == 0)
            live.bucket.put("a", b"A")
        return dirty(ledger, keys)

    monkeypatch.setattr(Ledger, "dirty", come_and_go)
    assert live.perform().status is RunStatus.SUCCESS
    live.assert_equal()
    assert live.in_sync and not pending


@pytest.mark.timeout(60)
def test_a_verify_ends_where_a_folder_took_the_place_of_a_stale_file(world: World) -> None:
    """There is no file to prove, so the object is asked for; nothing waits for a proof."""
    world.bucket.put("a", b"x")
    world.sync()
    world.reopen(max_bytes=100)
    world.bucket.put("a", b"x" * 101)
    world.sync()
    assert world.row("a").state is State.STALE
    file = world.file("a")
    file.unlink()
    file.mkdir()
    world.sync(kind=RunKind.VERIFY)
    assert world.row("a").state is State.STALE and file.is_dir() and not world.in_sync
