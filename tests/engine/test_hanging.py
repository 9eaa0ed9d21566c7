"""Work that hangs: what a stop, a cancellation and the other keys make of it."""

import os
import threading

import pytest

from datasync.errors import AccessDenied
from datasync.models.sync_models import RunStatus
from datasync.services.engine.fetch import Fetch
from tests.support import fail
from tests.support.world import World, eventually

MIB = 2**20


def status(world: World, run_id: int) -> RunStatus:
    return world.ledger.run(run_id).status


# Stops and cancellations


def test_a_stop_does_not_wait_for_a_proof_that_s3_does_not_answer(
    live: World, never: threading.Event
) -> None:
    live.bucket.put("a", b"x" * 1000, part_sizes=(400, 600))
    (live.root / "a").write_bytes(b"x" * 1000)
    live.bucket.script("a", fail.pause_until(never), method="HEAD")
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["head"] == 1)
    live.service.stop(10)
    assert not live.service.leading
    assert status(live, run.id) is RunStatus.INTERRUPTED


def test_parts_that_s3_does_not_tell_hold_up_neither_others_nor_a_stop(
    world: World, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reopen(concurrency=2)
    asked = threading.Event()

    def wait(*_: object) -> tuple[int, ...]:
        asked.set()
        never.wait()
        return ()

    monkeypatch.setattr(world.bucket, "parts", wait)
    for key in ("a", "b", "c"):
        world.bucket.put(key, b"x" * 1000, part_sizes=(400, 600))
    world.service.start()
    world.service.request_run()
    assert asked.wait(10)
    world.bucket.put("d", b"plain")
    world.service.mark([("d", "event")])
    eventually(lambda: world.tree() == {"d": b"plain"})
    world.service.stop(10)
    assert not world.service.leading
    world.assert_nothing_staged()


def test_an_approved_plan_survives_a_stop(live: World, never: threading.Event) -> None:
    for number in range(40):
        live.bucket.put(f"{number:02}", b"x")
    first, _ = live.service.request_run()
    eventually(lambda: status(live, first.id) is RunStatus.SUCCESS)
    for number in range(15):
        live.bucket.delete(f"{number:02}")
    held, _ = live.service.request_run()
    eventually(lambda: status(live, held.id) is RunStatus.HELD)
    live.bucket.script("07", fail.pause_until(never))
    live.service.approve(held.id)
    eventually(lambda: "14" not in live.tree())
    live.service.stop(10)
    left = live.ledger.run(held.id)
    assert (left.status, left.approved) == (RunStatus.HELD, True)
    live.bucket._scripts.clear()
    live.reopen()
    live.service.start()
    eventually(lambda: status(live, held.id) is RunStatus.SUCCESS)
    live.assert_equal()


def test_a_cancelled_run_does_not_wait_for_an_event_of_the_same_key(
    live: World, never: threading.Event
) -> None:
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.pause_until(never))
    live.service.mark([("a", "event")])
    eventually(lambda: live.bucket.counts["get"] == 1)
    run, _ = live.service.request_run()
    eventually(lambda: live.ledger.run(run.id).counts.planned == 1)
    live.service.cancel(run.id)
    eventually(lambda: status(live, run.id) is RunStatus.CANCELLED, 5)


def test_a_run_whose_listing_failed_can_be_cancelled(live: World, never: threading.Event) -> None:
    live.bucket.page_size = 1
    live.bucket.put("a", b"x")
    live.bucket.put("b", b"x")
    live.bucket.script("a", fail.pause_until(never))
    live.bucket.script_list(fail.at_page(2, AccessDenied("no")))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] == 1)
    live.service.cancel(run.id)
    eventually(lambda: status(live, run.id) is RunStatus.CANCELLED, 5)


# Streams and mistakes


def test_a_stream_of_events_starves_no_run(world: World, never: threading.Event) -> None:
    world.reopen(concurrency=1)
    world.service.start()
    for number in range(12):
        world.bucket.put(f"event/{number}", b"x")
        world.bucket.script(f"event/{number}", fail.pause_until(never))
    world.service.mark([(f"event/{number}", "event") for number in range(12)])
    eventually(lambda: world.bucket.counts["get"] == 9)
    world.bucket.put("bulk", b"x")
    world.service.request_run(prefix="bulk")
    eventually(lambda: world.tree() == {"bulk": b"x"}, 5)


def test_a_stream_of_events_starves_no_large_object(world: World, never: threading.Event) -> None:
    world.reopen(concurrency=1)
    world.service.start()
    gate, body = threading.Event(), os.urandom(33 * MIB)
    world.bucket.put("big", body)
    world.bucket.script("big", fail.pause_until(gate, at=MIB))
    world.service.mark([("big", "event")])
    eventually(lambda: world.bucket.counts["get"] == 1)
    for number in range(12):
        world.bucket.put(f"event/{number}", b"x")
        world.bucket.script(f"event/{number}", fail.pause_until(never))
    world.service.mark([(f"event/{number}", "event") for number in range(12)])
    eventually(lambda: world.bucket.counts["get"] == 9)
    gate.set()
    eventually(lambda: world.tree() == {"big": body}, 5)


def test_a_transfer_that_cannot_begin_takes_no_other_with_it(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, mistakes = Fetch.start, [ZeroDivisionError("a mistake")]

    def start_wrong_once(fetch: Fetch) -> None:
        if mistakes:
            raise mistakes.pop()
        start(fetch)

    monkeypatch.setattr(Fetch, "start", start_wrong_once)
    for number in range(8):
        live.bucket.put(f"{number}", b"x")
    run, _ = live.service.request_run()
    eventually(lambda: status(live, run.id) is RunStatus.PARTIAL)
    assert live.ledger.run(run.id).counts.downloaded == 7
