"""Work that hangs: what a stop, a cancellation and the other keys make of it."""

import os
import threading

import pytest

from datasync.errors import AccessDenied
from datasync.models.sync_models import RunStatus, Verdict
from datasync.services.engine import levels, proof, proving, transfer
from datasync.services.engine.fetch import Fetch
from datasync.services.engine.transfer_loop import TransferLoop
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


class SilentParts:
    """Questions for the parts of objects; those below `hung/` are never answered."""

    def __init__(self, world: World, never: threading.Event) -> None:
        self.asked: list[str] = []
        self._never = never
        self._parts = world.bucket.parts
        world.bucket.parts = self._ask  # type: ignore[method-assign]

    def _ask(self, key: str, etag: str, count: int) -> tuple[int, ...]:
        self.asked.append(key)
        if key.startswith("hung/"):
            self._never.wait()
        return self._parts(key, etag, count)


def put_in_parts(world: World, *keys: str) -> None:
    for key in keys:
        world.bucket.put(key, b"x" * 1000, part_sizes=(400, 600))


def bring(world: World, key: str) -> None:
    """Have an event bring a plain object."""
    world.bucket.put(key, b"plain")
    world.service.mark([(key, "event")])
    eventually(lambda: key in world.tree())


def test_parts_that_s3_does_not_tell_hold_up_no_event_that_needs_others(
    live: World, never: threading.Event
) -> None:
    silent = SilentParts(live, never)
    hung = [f"hung/{number}" for number in range(transfer.ASKING_THREADS)]
    put_in_parts(live, *hung)
    live.service.request_run()
    bulk = transfer.ASKING_THREADS - transfer.ASKING_RESERVE
    eventually(lambda: len(silent.asked) == bulk)
    put_in_parts(live, "event")
    live.service.mark([("event", "event")])
    eventually(lambda: "event" in live.tree())
    assert len(silent.asked) == bulk + 1


def test_objects_that_wait_for_their_proof_are_no_more_than_may_be_under_way(
    world: World, never: threading.Event
) -> None:
    """Each of them has bytes in the staging folder."""
    world.reopen(concurrency=2)
    SilentParts(world, never)
    put_in_parts(world, *(f"hung/{number}" for number in range(8)))
    world.service.start()
    world.service.request_run()
    eventually(lambda: world.bucket.counts["get"] == 2)
    for key in ("a", "b", "c"):
        bring(world, key)
    assert world.bucket.counts["get"] == 2 + 3


def put_with_files(world: World, *keys: str) -> None:
    """Objects in parts whose files are there already, to be proved by what S3 says."""
    put_in_parts(world, *keys)
    for key in keys:
        file = world.root / key
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x" * 1000)


def test_a_question_that_hangs_keeps_no_other_file_from_its_proof(
    live: World, never: threading.Event
) -> None:
    SilentParts(live, never)
    hung = [f"hung/{number}" for number in range(proving.QUESTIONS_AHEAD - 1)]
    others = [f"other/{number}" for number in range(20)]
    put_with_files(live, *hung, *others)
    run, _ = live.service.request_run()
    eventually(lambda: live.ledger.run(run.id).counts.adopted == len(others))
    live.service.cancel(run.id)
    eventually(lambda: status(live, run.id) is RunStatus.CANCELLED, 5)
    assert live.bucket.counts["get"] == 0


def test_no_more_questions_are_under_way_than_requests_may_be(
    world: World, never: threading.Event
) -> None:
    world.reopen(concurrency=4)
    silent = SilentParts(world, never)
    put_with_files(world, *(f"hung/{number:02}" for number in range(20)))
    put_with_files(world, "other")  # after them, and it has no turn
    world.service.start()
    run, _ = world.service.request_run()
    eventually(lambda: len(silent.asked) == 2)  # one of two loops has them all
    bring(world, "event")
    bring(world, "later")
    world.service.cancel(run.id)
    eventually(lambda: status(world, run.id) is RunStatus.CANCELLED, 5)
    assert sorted(silent.asked) == ["hung/00", "hung/01"]
    assert world.ledger.run(run.id).counts.adopted == 0


def test_files_that_are_others_become_no_more_downloads_than_may_be_under_way(
    live: World, never: threading.Event
) -> None:
    for number in range(3 * levels.START):
        live.bucket.put(f"{number:03}", b"new")
        live.bucket.script(f"{number:03}", fail.pause_until(never))
        (live.root / f"{number:03}").write_bytes(b"other")
    live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] == levels.START)
    bring(live, "event")
    assert live.bucket.counts["get"] == levels.START + 1


def test_a_cancelled_run_asks_nothing_more(
    live: World, never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun, prove = threading.Event(), threading.Event(), proof.prove_listed

    def wait_first(*arguments: object) -> object:
        begun.set()
        gate.wait(30)
        return prove(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(proving, "prove_listed", wait_first)
    silent = SilentParts(live, never)
    put_with_files(live, *(f"hung/{number}" for number in range(5)))
    run, _ = live.service.request_run()
    assert begun.wait(10)
    live.service.cancel(run.id)
    loop = next(one for one in threading.enumerate() if isinstance(one, TransferLoop))
    eventually(lambda: run.id in loop._pool.withdrawn)
    gate.set()
    eventually(lambda: status(live, run.id) is RunStatus.CANCELLED, 5)
    assert silent.asked == []


def test_a_large_object_is_hashed_once_its_parts_are_told(
    live: World, never: threading.Event
) -> None:
    parts = live.bucket.parts

    def ask(key: str, etag: str, count: int) -> tuple[int, ...]:
        never.wait()
        return parts(key, etag, count)

    live.bucket.parts = ask  # type: ignore[method-assign]
    size = 33 * MIB
    live.bucket.put("a", os.urandom(size), part_sizes=(size // 3, size - size // 3))
    live.service.mark([("a", "event")])
    eventually(lambda: live.bucket.counts["get"] == 3)
    bring(live, "b")
    assert live.tree() == {"b": b"plain"}
    never.set()
    eventually(lambda: live.ledger.get("a"))
    assert live.row("a").verdict is Verdict.MULTIPART_MD5
    live.assert_equal()


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
    world.bucket.script("big", fail.pause_until(gate, at=MIB // 2))
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
