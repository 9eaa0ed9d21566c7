"""The machine's clock is set back: nothing waits until it has come round again."""

import time
from dataclasses import replace

from datasync.models.sync_models import RunStatus, Settlement
from datasync.services.engine.levels import defer_seconds
from datasync.services.storage.ledger.dirty import LONGEST_WAIT_SECONDS
from tests.support import fail
from tests.support.world import World, eventually

DAY = 86_400.0


def mark_by_a_clock_ahead(world: World, key: str) -> None:
    """As a service leaves it whose clock is a day ahead: told of, tried, and to be tried again."""
    then = time.time() + DAY
    world.ledger.mark({key: "event"}, then)
    mark = world.ledger.dirty([key])[key]
    later = replace(mark, attempts=1, not_before=then + 5.0, last_error="connection refused")
    world.ledger.settle(Settlement(deferred=(later,)))


def test_a_key_that_failed_is_tried_again_at_once(world: World) -> None:
    world.bucket.put("a", b"x")
    mark_by_a_clock_ahead(world, "a")
    world.service.start()
    eventually(lambda: world.ledger.dirty_count() == 0)
    world.assert_equal()


def test_one_that_fails_again_waits_by_the_clock_of_now(world: World) -> None:
    world.bucket.put("a", b"x")
    world.bucket.script("a", fail.status(403, times=1000))
    mark_by_a_clock_ahead(world, "a")
    world.service.start()
    eventually(lambda: world.ledger.dirty(["a"])["a"].attempts == 2)
    assert world.ledger.dirty(["a"])["a"].not_before < time.time() + defer_seconds(2, 1.0) + 1
    assert world.bucket.counts["get"] == 1


def test_a_sync_in_the_foreground_takes_marks_from_ahead(world: World) -> None:
    world.bucket.put("a", b"x")
    world.ledger.mark({"a": "event", "gone": "event"}, time.time() + DAY)
    mark_by_a_clock_ahead(world, "b")
    assert world.sync().status is RunStatus.SUCCESS
    assert world.ledger.dirty_count() == 0 and world.in_sync


def test_no_mark_is_made_to_wait_that_long() -> None:
    assert max(defer_seconds(attempts, 1.0) for attempts in range(1000)) < LONGEST_WAIT_SECONDS
