"""Objects that change while they are on their way, step by step: gates, no luck.

The server has sent a part of a version when the object becomes another one, or none. What is in
the mirror is at every moment a version that was in the bucket, and in the end it is the last one.
"""

import os
import threading
from collections.abc import Callable

import pytest

from datasync.services.engine import fetch, ranges, transfer_loop
from tests.support.network import NetworkWorld
from tests.support.s3_front import TRULY, Spoilt, paused
from tests.support.world import eventually

KIB = 2**10
SIZES = {"in memory": 8 * KIB, "streamed": 40 * KIB, "in ranges": 200 * KIB}
FIRST = b"held before"


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The size of a version; from which an object is streamed, or large, is less than usual."""
    monkeypatch.setattr(fetch, "MEMORY_BYTES", 16 * KIB)
    for name in ("FIRST_BYTES", "RANGE_BYTES"):
        monkeypatch.setattr(ranges, name, 64 * KIB)
    for module in (fetch, transfer_loop):
        monkeypatch.setattr(module, "LARGE_BYTES", 64 * KIB)
    return SIZES[request.param]


class Halfway:
    """Keys whose next version has been sent in part; `go` lets the rest come."""

    def __init__(self, net: NetworkWorld, size: int) -> None:
        self.net = net
        self.size = size
        self.go = threading.Event()
        self.versions: dict[str, set[bytes]] = {}
        for key in CHANGES:
            self.put(key, FIRST)
        net.sync()
        net.service.start()
        eventually(lambda: net.service.leading)
        reached = {key: threading.Event() for key in CHANGES}
        for key in CHANGES:
            self.put(key, os.urandom(size))
            pause = Spoilt(paused(reached[key], self.go, at=size // 8))
            net.front.script(key, pause, TRULY)
        net.service.mark([(key, "event") for key in CHANGES])
        for event in reached.values():
            assert event.wait(10)

    def put(self, key: str, body: bytes) -> None:
        self.net.bucket.put(key, body)
        self.versions.setdefault(key, set()).add(body)

    def seen_whole(self) -> bool:
        """Look at the mirror: whatever is there is one whole version."""
        for key, body in self.net.tree().items():
            assert body in self.versions[key], f"{key}: {len(body)} bytes of no version"
        return True


def replaced(race: Halfway, key: str) -> None:
    race.put(key, os.urandom(race.size + 1))


def deleted(race: Halfway, key: str) -> None:
    race.net.bucket.delete(key)


def deleted_and_made_again(race: Halfway, key: str) -> None:
    same = race.net.bucket.objects[key].body
    deleted(race, key)
    race.put(key, same)


def deleted_and_made_anew(race: Halfway, key: str) -> None:
    deleted(race, key)
    race.put(key, os.urandom(race.size))


def replaced_by_nothing(race: Halfway, key: str) -> None:
    race.put(key, b"")


CHANGES: dict[str, Callable[[Halfway, str], None]] = {
    change.__name__: change
    for change in (
        replaced,
        deleted,
        deleted_and_made_again,
        deleted_and_made_anew,
        replaced_by_nothing,
    )
}


def change_all(race: Halfway) -> None:
    for key, change in CHANGES.items():
        change(race, key)


def test_an_object_that_changes_during_its_transfer_and_an_event_that_tells(
    net: NetworkWorld, size: int
) -> None:
    race = Halfway(net, size)
    change_all(race)
    net.service.mark([(key, "event") for key in CHANGES])

    race.go.set()
    eventually(lambda: race.seen_whole() and net.ledger.dirty_count() == 0)

    net.assert_equal()
    assert "deleted" not in net.tree()


def test_an_object_that_changes_during_its_transfer_and_nobody_tells(
    net: NetworkWorld, size: int
) -> None:
    race = Halfway(net, size)
    change_all(race)

    race.go.set()
    eventually(lambda: race.seen_whole() and net.ledger.dirty_count() == 0)
    assert net.perform().status == "success"

    assert race.seen_whole()
    net.assert_equal()
    assert net.in_sync


def test_a_listing_that_is_older_than_the_events_neither_deletes_nor_downgrades(
    net: NetworkWorld, size: int
) -> None:
    """The page is made, all keys change, events tell of it; only then does the page arrive."""
    race = Halfway(net, size)
    race.go.set()
    eventually(lambda: net.ledger.dirty_count() == 0)

    def change_and_tell() -> None:
        change_all(race)
        race.put("born", os.urandom(size))
        net.service.mark([(key, "event") for key in (*CHANGES, "born")])
        eventually(lambda: net.ledger.dirty_count() == 0)

    net.bucket.list_before(change_and_tell)

    run = net.perform()

    assert (run.status, run.counts.deleted) == ("success", 0)
    assert race.seen_whole()
    net.assert_equal()
    assert net.in_sync
