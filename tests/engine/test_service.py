"""The engine in the background: events, schedule, shutdown, races."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.errors import NetworkFailure
from datasync.models.sync_models import (
    EventNote,
    Operation,
    OutcomeStatus,
    RunKind,
    RunStatus,
    State,
)
from tests.support import fail
from tests.support.world import OPTIONS, World, eventually

MIB = 2**20


def send(world: World, *keys: str) -> None:
    """Journal an event for each key."""
    now = time.time()
    world.ledger.journal([EventNote(key, "put", now, now) for key in keys], {})
    world.service.wake()


def settled(world: World) -> bool:
    return world.ledger.dirty_count() == 0


def test_an_event_brings_the_object_and_a_second_one_asks_for_no_body(live: World) -> None:
    live.bucket.put("a", b"one")
    send(live, "a")
    eventually(lambda: settled(live))
    live.assert_equal()
    send(live, "a")
    eventually(lambda: live.bucket.counts["get"] == 2 and settled(live))
    assert live.bucket.requests[-1].if_none_match == live.bucket.objects["a"].etag
    told = live.ledger.outcomes(key="a", failures_first=False)
    assert sorted(outcome.operation for outcome in told) == [Operation.DOWNLOAD, Operation.SKIP]
    assert all(outcome.lag_seconds is not None for outcome in told)


def test_neither_a_failed_try_nor_what_no_event_told_of_has_a_lag(live: World) -> None:
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.status(403))
    send(live, "a")
    eventually(lambda: live.ledger.dirty(["a"])["a"].attempts == 1)
    live.service.mark([("b", "retry")])
    eventually(lambda: set(live.ledger.dirty(["a", "b"])) == {"a"})
    assert [outcome.lag_seconds for outcome in live.ledger.outcomes()] == [None, None]
    live.service.mark([("a", "retry")])  # the event still waits: its lag goes on
    eventually(lambda: settled(live))
    assert live.ledger.event_totals().histograms["lag"].count == 1


def test_a_deleted_object_goes_to_the_trash(live: World) -> None:
    live.bucket.put("a/b/c", b"one")
    live.service.mark([("a/b/c", "event")])
    eventually(lambda: live.tree())
    live.bucket.delete("a/b/c")
    live.service.mark([("a/b/c", "event")])
    eventually(lambda: not live.tree() and settled(live))
    assert live.trash() == ["a/b/c"]
    assert not (live.root / "a").exists()
    assert live.ledger.get("a/b/c") is None


def test_a_lying_delete_event_deletes_nothing(live: World) -> None:
    live.bucket.put("a", b"one")
    for reason in ("ObjectCreated:Put", "ObjectRemoved:Delete", "Object Deleted"):
        live.service.mark([("a", reason)])
        eventually(lambda: settled(live))
        live.assert_equal()
    assert live.trash() == []


def test_an_event_of_a_drifted_file_repairs_it(live: World) -> None:
    live.bucket.put("a", b"one")
    live.service.mark([("a", "event")])
    eventually(lambda: live.tree())
    eventually(lambda: settled(live))
    live.file("a").write_bytes(b"meddled")
    live.service.mark([("a", "event")])
    eventually(lambda: settled(live) and live.tree()["a"] == b"one")
    assert live.trash() == ["a"]


def test_a_key_that_fails_waits_for_its_next_try_and_keeps_its_mark(live: World) -> None:
    live.bucket.put("a", b"one")
    live.bucket.script("a", fail.status(403, times=50))
    live.service.mark([("a", "event")])
    eventually(lambda: live.ledger.failures())
    mark = live.ledger.dirty(["a"])["a"]
    assert (mark.attempts, live.bucket.counts["get"]) == (1, 1)
    assert "AccessDenied" in (mark.last_error or "")
    live.bucket._scripts.clear()
    live.service.mark([("a", "event")])
    eventually(lambda: settled(live))
    live.assert_equal()


def test_a_reconciliation_satisfies_a_mark_that_was_waiting(live: World) -> None:
    live.bucket.put("a", b"one")
    live.bucket.script("a", fail.status(403))
    live.service.mark([("a", "event")])
    eventually(lambda: live.ledger.failures())
    run, _ = live.service.request_run()
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.SUCCESS)
    assert settled(live)
    live.assert_equal()


def test_an_event_during_the_transfer_of_its_key_brings_the_newer_version(live: World) -> None:
    gate = threading.Event()
    live.bucket.put("a", b"old" * 100_000)
    live.bucket.script("a", fail.pause_until(gate, at=1000))
    live.service.mark([("a", "event")])
    eventually(lambda: live.bucket.counts["get"] == 1)
    live.bucket.put("a", b"new")
    live.service.mark([("a", "event")])
    gate.set()
    eventually(lambda: settled(live))
    live.assert_equal()


def test_a_version_that_a_run_is_fetching_never_overtakes_the_one_an_event_tells_of(
    live: World,
) -> None:
    gate = threading.Event()
    live.bucket.put("a", b"old" * 100_000)
    live.bucket.script("a", fail.pause_until(gate, at=1000))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] == 1)
    live.bucket.put("a", b"new")
    live.bucket.put("b", b"told of beside it")
    live.service.mark([("a", "event"), ("b", "event")])
    eventually(lambda: live.ledger.get("b") is not None)
    assert [request.key for request in live.bucket.requests] == ["a", "b"]
    gate.set()
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.SUCCESS and settled(live))
    live.assert_equal()


def test_an_event_is_not_kept_waiting_by_a_run(live: World) -> None:
    gate = threading.Event()
    for number in range(400):
        live.bucket.put(f"bulk/{number:03}", b"x" * 100)
        live.bucket.script(f"bulk/{number:03}", fail.pause_until(gate))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] >= 8)
    live.bucket.put("urgent", b"now")
    live.service.mark([("urgent", "event")])
    eventually(lambda: live.ledger.get("urgent") is not None)
    assert live.ledger.run(run.id).status is RunStatus.RUNNING
    gate.set()
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.SUCCESS)
    live.assert_equal()


def test_a_listing_older_than_an_event_neither_deletes_nor_downgrades(live: World) -> None:
    gate, listed = threading.Event(), threading.Event()
    live.bucket.put("a", b"first")
    run, _ = live.service.request_run()
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.SUCCESS)
    live.bucket.page_size = 1
    live.bucket.put("z", b"last page")
    live.bucket.script_list(replace(fail.pause_until(gate), hook=listed.set, page=2))
    stale, _ = live.service.request_run()
    eventually(listed.is_set)
    live.bucket.put("a", b"second")
    live.bucket.put("b", b"born after its page was listed")
    live.service.mark([("a", "event"), ("b", "event")])
    eventually(lambda: settled(live))
    gate.set()
    eventually(lambda: live.ledger.run(stale.id).status is RunStatus.SUCCESS)
    live.assert_equal()


def test_a_trigger_joins_a_run_that_covers_it(live: World) -> None:
    gate = threading.Event()
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.pause_until(gate))
    first, new = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] == 1)
    joined = [live.service.request_run(prefix="a") for _ in range(20)]
    gate.set()
    assert new and {(run.id, fresh) for run, fresh in joined} == {(first.id, False)}
    eventually(lambda: live.ledger.run(first.id).status is RunStatus.SUCCESS)


def test_a_cancelled_run_gives_up_what_is_under_way(live: World) -> None:
    never = threading.Event()
    for number in range(50):
        live.bucket.put(f"{number:02}", os.urandom(1000))
        live.bucket.script(f"{number:02}", fail.pause_until(never, at=10))
    live.bucket.put("big", os.urandom(40 * MIB))
    live.bucket.script("big", fail.pause_until(never, at=MIB))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] >= 8)
    live.service.cancel(run.id)
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.CANCELLED)
    assert live.bucket.counts["get"] < 51
    live.assert_nothing_staged()
    live.bucket._scripts.clear()
    again, _ = live.service.request_run()
    eventually(lambda: live.ledger.run(again.id).status is RunStatus.SUCCESS)
    live.assert_equal()


@pytest.mark.parametrize("size", [100, 2 * MIB, 40 * MIB])
def test_a_stop_in_the_middle_of_a_transfer_leaves_nothing_staged_and_the_mark(
    live: World, size: int
) -> None:
    never = threading.Event()
    live.bucket.put("a", b"old")
    live.service.mark([("a", "event")])
    eventually(lambda: settled(live))
    live.bucket.put("a", os.urandom(size))
    live.bucket.script("a", fail.pause_until(never, at=50))
    live.service.mark([("a", "event")])
    eventually(lambda: live.bucket.counts["get"] == 2)
    live.service.stop(10)
    assert live.tree() == {"a": b"old"}
    live.assert_nothing_staged()
    assert live.ledger.dirty_count() == 1
    live.bucket._scripts.clear()
    live.reopen()
    live.service.start()
    eventually(lambda: settled(live))
    live.assert_equal()


def test_a_stop_in_the_middle_of_a_run_interrupts_it_and_the_next_one_carries_on(
    live: World,
) -> None:
    never = threading.Event()
    for number in range(60):
        live.bucket.put(f"{number:02}", b"x")
    for number in range(30, 60):
        live.bucket.script(f"{number:02}", fail.pause_until(never))
    run, _ = live.service.request_run()
    eventually(lambda: len(live.tree()) >= 20)
    live.service.stop(10)
    assert live.ledger.run(run.id).status is RunStatus.INTERRUPTED
    live.assert_nothing_staged()
    live.bucket._scripts.clear()
    live.reopen()
    again = live.sync()
    assert again.counts.downloaded < 60
    live.assert_equal()


def test_the_first_reconciliation_comes_at_once_and_failed_ones_are_repeated(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, replace(OPTIONS, interval_seconds=3600.0))
    world.bucket.outage = NetworkFailure("down")
    world.bucket.put("a", b"x")
    world.service.start()
    eventually(lambda: world.ledger.runs() and world.ledger.runs()[0].status is RunStatus.FAILED)
    world.bucket.outage = None
    world.close()
    world.open()
    world.service.start()
    eventually(lambda: world.tree() == {"a": b"x"})
    world.close()


def test_a_second_service_takes_over_when_the_first_one_stops(live: World) -> None:
    other = World(live.folder)
    other.bucket = live.bucket
    other.reopen()
    other.service.start()
    assert not other.service.leading
    live.bucket.put("a", b"x")
    other.service.mark([("a", "event")])
    eventually(lambda: live.ledger.get("a") is not None)
    live.service.stop()
    eventually(lambda: other.service.leading)
    live.bucket.put("b", b"y")
    other.service.mark([("b", "event")])
    eventually(lambda: other.ledger.get("b") is not None)
    other.close()


def test_dirty_keys_of_a_foreground_run_are_worked_off(world: World) -> None:
    world.bucket.put("a", b"x")
    world.bucket.script("a", fail.status(403, times=2))
    world.service.mark([("a", "event")])
    assert world.sync().status is RunStatus.PARTIAL
    assert world.ledger.dirty(["a"])["a"].attempts >= 1


def test_bursts_of_marks_for_one_key_cost_few_requests(live: World) -> None:
    gate = threading.Event()
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.pause_until(gate))
    for _ in range(200):
        live.service.mark([("a", "event")])
    gate.set()
    eventually(lambda: settled(live))
    assert live.bucket.counts["get"] <= 3
    live.assert_equal()


def test_failures_name_the_key_the_reason_and_the_way_out(live: World) -> None:
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.status(403, times=9))
    run, _ = live.service.request_run(RunKind.RECONCILE)
    eventually(lambda: live.ledger.run(run.id).status is RunStatus.PARTIAL)
    failed = live.ledger.outcomes(run_id=run.id)[0]
    assert (failed.key, failed.status) == ("a", OutcomeStatus.FAILED)
    assert failed.error == "AccessDenied" and "s3:GetObject" in (failed.hint or "")
    assert live.row("a").state is State.FAILED
