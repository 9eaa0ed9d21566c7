"""However much there is to do: queues stay short, events go first, and what is asked for ends."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from datasync.models.sync_models import RunKind, RunStatus, Settlement
from datasync.services.engine import (
    commit,
    dispatch,
    integrity,
    levels,
    proof,
    proving,
    queues,
    transfer,
    transfer_loop,
    workshop,
)
from datasync.services.engine.commit import Committer
from datasync.services.engine.integrity import Digest, Expectation
from datasync.services.engine.tasks import Result, Task
from datasync.services.engine.transfer_loop import TransferLoop
from datasync.services.storage.ledger import Ledger
from tests.support import fail
from tests.support.world import OPTIONS, World, eventually

MIB = 2**20


@pytest.fixture
def proofs_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No file is proved before this event."""
    gate = threading.Event()

    def waiting_first(prove: Callable[..., object]) -> Callable[..., object]:
        def wait_first(*arguments: object) -> object:
            gate.wait()
            return prove(*arguments)

        return wait_first

    monkeypatch.setattr(proving, "prove_listed", waiting_first(proof.prove_listed))
    yield gate
    gate.set()


@pytest.fixture
def one_at_a_time(tmp_path: Path) -> Iterator[World]:
    """A world that leads and sends one bulk request at a time."""
    made = World(tmp_path, replace(OPTIONS, concurrency=1))
    made.service.start()
    yield made
    made.close()


def mark(world: World, *keys: str) -> None:
    world.service.mark([(key, "event") for key in keys])


def hang(world: World, count: int, *faults: fail.Fault) -> list[str]:
    """Mark keys that meet these faults, in turn; returns them."""
    keys = [f"hung/{number:02}" for number in range(count)]
    for key in keys:
        world.bucket.put(key, b"x")
        world.bucket.script(key, *faults)
    mark(world, *keys)
    return keys


def a_fresh_event_is_worked_off(world: World) -> None:
    world.bucket.put("good", b"x")
    mark(world, "good")
    eventually(lambda: world.ledger.get("good"))


def settled(world: World) -> bool:
    return world.ledger.dirty_count() == 0


# Bounds


def test_few_files_to_prove_are_taken_at_once(
    live: World, monkeypatch: pytest.MonkeyPatch, proofs_gate: threading.Event
) -> None:
    monkeypatch.setattr(queues, "BULK_QUEUE", 20)
    monkeypatch.setattr(queues, "TOGETHER", 2)
    monkeypatch.setattr(queues, "GATHER_SECONDS", 0.0)  # so short a queue never has many
    live.bucket.page_size = 10
    for number in range(200):
        live.bucket.put(f"{number:03}", b"x")
    live.perform()
    run, _ = live.service.request_run(RunKind.VERIFY)
    eventually(lambda: live.ledger.run(run.id).counts.planned >= 30)
    live.bucket.put("new", b"x")
    mark(live, "new")
    eventually(lambda: live.ledger.get("new"))
    at_work = 2 * proving.PROOFS_AHEAD * queues.TOGETHER
    assert live.ledger.run(run.id).counts.planned <= 20 + 10 + at_work
    proofs_gate.set()
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)


@pytest.mark.timeout(60)
def test_what_an_event_waits_for_is_committed_when_it_arrives(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own look at `a` is under way; that of `z` would have it gathered with."""
    monkeypatch.setattr(commit, "GATHER_SECONDS", 600)
    first, last, handed = threading.Event(), threading.Event(), threading.Event()
    submit = workshop.Workshop.submit_urgent

    def hand(shop: workshop.Workshop, tasks: Sequence[Task]) -> None:
        submit(shop, tasks)
        handed.set()

    monkeypatch.setattr(workshop.Workshop, "submit_urgent", hand)
    for key, gate in (("a", first), ("z", last)):
        live.bucket.put(key, b"x")
        live.bucket.script(key, fail.pause_until(gate))
    run, _ = live.service.request_run(RunKind.RECONCILE)
    eventually(lambda: live.bucket.counts["get"] == 2)
    mark(live, "a")
    assert handed.wait(10)
    first.set()
    eventually(lambda: live.ledger.get("a"))
    last.set()
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)


def test_records_wait_while_the_commit_is_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshop, "BACKLOG", 50)
    world.bucket.page_size = 10
    for number in range(400):
        world.bucket.put(f"{number:03}", b"x", storage_class="GLACIER")
    full, over = threading.Event(), threading.Event()
    put, settle = Committer.put, Ledger.settle

    def watch(committer: Committer, results: Sequence[Result]) -> None:
        put(committer, results)
        if committer.backlog >= 50:
            full.set()
        if committer.backlog > 60:
            over.set()

    def settle_late(ledger: Ledger, settlement: Settlement) -> None:
        full.wait(10)
        over.wait(0.2)
        settle(ledger, settlement)

    monkeypatch.setattr(Committer, "put", watch)
    monkeypatch.setattr(Ledger, "settle", settle_late)
    run = world.sync()
    assert (run.status, run.counts.skipped) == (RunStatus.SUCCESS, 400)
    assert full.is_set() and not over.is_set()


def test_silent_requests_leave_a_bounded_number_of_places_to_events(
    one_at_a_time: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr(transfer_loop, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(transfer_loop, "SILENT_REQUESTS", 3)
    world = one_at_a_time
    hang(world, 40, fail.pause_until(never))
    most = 1 + transfer_loop.URGENT_RESERVE + 3
    eventually(lambda: world.bucket.counts["get"] == most)
    world.bucket.put("bulk", b"x")
    world.service.request_run(prefix="bulk")  # it has a place of its own
    eventually(lambda: world.ledger.get("bulk"))
    assert world.bucket.counts["get"] == most + 1


def test_more_keys_that_hang_than_there_are_places_are_given_up_while_others_wait(
    one_at_a_time: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    for name, value in (("SILENT_SECONDS", 0.0), ("SILENT_REQUESTS", 3), ("PRESSED_SECONDS", 0.5)):
        monkeypatch.setattr(transfer_loop, name, value)
    world = one_at_a_time
    hung = hang(world, 20, fail.pause_until(never))
    eventually(lambda: world.bucket.counts["get"] > transfer_loop.URGENT_RESERVE + 3)
    a_fresh_event_is_worked_off(world)
    given_up = world.ledger.dirty([hung[0]])[hung[0]]
    assert given_up.attempts == 1 and "and others wait" in str(given_up.last_error)


def test_keys_that_failed_before_leave_places_to_fresh_events(
    one_at_a_time: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr(transfer_loop, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(transfer_loop, "SILENT_REQUESTS", 3)
    monkeypatch.setattr("datasync.services.engine.outcomes.defer_seconds", lambda *_: 0.0)
    world = one_at_a_time
    hang(world, 20, fail.status(403), fail.pause_until(never))
    taken = 1 + transfer_loop.URGENT_RESERVE + 3 - queues.FRESH_RESERVE
    eventually(lambda: world.bucket.counts["get"] == 20 + taken)
    [loop] = [one for one in threading.enumerate() if isinstance(one, TransferLoop)]
    eventually(lambda: len(loop._pool.queues._again) == 20 - taken)
    a_fresh_event_is_worked_off(world)


def test_keys_that_are_in_hand_for_long_do_not_keep_others_out(
    live: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr(dispatch, "IN_HAND", 10)
    monkeypatch.setattr(dispatch, "SLOW_SECONDS", 0.2)
    hang(live, 10, fail.pause_until(never))
    eventually(lambda: live.bucket.counts["get"] == 10)
    a_fresh_event_is_worked_off(live)


# Events go first


def test_answers_that_come_in_bursts_show_that_all_places_were_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from far away: else no more would ever be asked for at once."""
    told: list[int] = []

    def completed(_: levels.ConcurrencyLevel, nbytes: int, now: float, *, in_flight: int) -> None:
        told.append(in_flight)

    monkeypatch.setattr(levels.ConcurrencyLevel, "completed", completed)
    for number in range(10 * levels.START):
        world.bucket.put(f"{number:03}", b"x")
    assert world.sync().status is RunStatus.SUCCESS
    assert max(told) == levels.START


def test_keys_that_hang_do_not_stop_other_events(live: World, never: threading.Event) -> None:
    places = levels.START + transfer.LOOPS * transfer_loop.URGENT_RESERVE
    hang(live, places + 8, fail.pause_until(never))
    eventually(lambda: live.bucket.counts["get"] == places)
    a_fresh_event_is_worked_off(live)


def test_an_object_that_stops_halfway_counts_as_silent_too(
    one_at_a_time: World, never: threading.Event
) -> None:
    world = one_at_a_time
    for number in range(9):
        world.bucket.put(f"hung/{number}", os.urandom(2 * MIB))
        world.bucket.script(f"hung/{number}", fail.pause_until(never, at=MIB))
    mark(world, *(f"hung/{number}" for number in range(9)))
    eventually(lambda: world.bucket.counts["get"] == 9)
    a_fresh_event_is_worked_off(world)


def test_an_event_for_a_key_that_queues_as_bulk_goes_ahead(
    one_at_a_time: World, never: threading.Event
) -> None:
    world = one_at_a_time
    for key in "abc":
        world.bucket.put(key, key.encode())
    world.bucket.script("a", fail.pause_until(never))
    run, _ = world.service.request_run()
    eventually(lambda: world.ledger.run(run.id).counts.planned == 3)
    eventually(lambda: world.bucket.counts["get"] == 1)
    mark(world, "c")
    eventually(lambda: settled(world))
    assert world.tree() == {"c": b"c"}
    assert [request.key for request in world.bucket.requests] == ["a", "c"]


def test_an_event_for_a_key_of_a_page_that_waits_for_room_goes_ahead(
    one_at_a_time: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    monkeypatch.setattr(queues, "BULK_QUEUE", 2)
    world = one_at_a_time
    world.bucket.page_size = 3
    for key in "abcdef":
        world.bucket.put(key, key.encode())
    world.bucket.script("a", fail.pause_until(never))
    world.service.request_run()
    eventually(lambda: world.bucket.counts["list"] == 2)
    world.bucket.put("new", b"x")
    mark(world, "new")
    eventually(lambda: world.ledger.get("new"))
    mark(world, "f")
    eventually(lambda: world.ledger.get("f"))


def test_a_run_ends_although_events_overtook_its_tasks(one_at_a_time: World) -> None:
    world, gate = one_at_a_time, threading.Event()
    for key in "abcd":
        world.bucket.put(key, key.encode())
    world.bucket.script("a", fail.pause_until(gate))
    run, _ = world.service.request_run()
    eventually(lambda: world.ledger.run(run.id).counts.planned == 4)
    mark(world, "b", "c", "d")
    eventually(lambda: settled(world))
    gate.set()
    eventually(lambda: world.status(run.id) is RunStatus.SUCCESS)
    counts = world.ledger.run(run.id).counts
    assert (counts.planned, counts.downloaded, counts.skipped) == (4, 1, 3)
    world.assert_equal()


def test_an_event_for_a_file_that_waits_to_be_proved_goes_ahead(
    live: World, proofs_gate: threading.Event
) -> None:
    taken = 2 * proving.PROOFS_AHEAD * queues.TOGETHER
    for number in range(taken + 1):
        live.bucket.put(f"{number:04}", b"x")
    live.perform()
    run, _ = live.service.request_run(RunKind.VERIFY)
    eventually(lambda: live.ledger.run(run.id).counts.planned == taken + 1)
    last = f"{taken:04}"
    live.bucket.put(last, b"changed")
    mark(live, last)
    eventually(lambda: live.file(last).read_bytes() == b"changed")
    proofs_gate.set()
    eventually(lambda: live.status(run.id) is RunStatus.SUCCESS)
    live.assert_equal()


def test_the_hashing_that_an_event_needs_does_not_wait_for_proofs(
    live: World, proofs_gate: threading.Event
) -> None:
    for number in range(3):
        live.bucket.put(f"{number}", b"x")
    live.perform()
    run, _ = live.service.request_run(RunKind.VERIFY)
    eventually(lambda: live.ledger.run(run.id).counts.planned == 3)
    live.bucket.put("large", os.urandom(10 * MIB))
    mark(live, "large")
    eventually(lambda: live.ledger.get("large"))


# Everything ends


class Endless:
    """A digest that is given one more piece only when the test is over."""

    def __init__(self, digest: Digest, begun: threading.Event, never: threading.Event) -> None:
        self._digest = digest
        self._begun = begun
        self._never = never

    def update(self, data: bytes | memoryview) -> None:
        self._begun.set()
        self._never.wait(0.05)
        self._digest.update(data)

    def value(self) -> bytes:
        return self._digest.value()


def test_a_cancellation_does_not_wait_for_files_that_are_being_proved(
    live: World, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    live.bucket.put("large", os.urandom(MIB))
    for number in range(20):
        live.bucket.put(f"{number:02}", b"x")
    live.perform()
    begun, digest_for = threading.Event(), integrity.digest_for
    # 300 pieces of a twentieth of a second each: more than anybody waits for
    monkeypatch.setattr(proof, "READ_BYTES", MIB // 300)

    def endless(expectation: Expectation) -> Endless:
        return Endless(digest_for(expectation), begun, never)

    monkeypatch.setattr(proof, "digest_for", endless)
    run, _ = live.service.request_run(RunKind.VERIFY)
    assert begun.wait(10)
    live.service.cancel(run.id)
    eventually(lambda: live.status(run.id) is RunStatus.CANCELLED, 5)


def test_a_sync_in_the_foreground_ends_although_marks_keep_coming(world: World) -> None:
    world.bucket.put("a", b"x")
    # Whoever looks at the key finds it marked anew.
    world.bucket.script("a", fail.before(lambda: mark(world, "a"), times=100_000))
    done: list[RunStatus] = []
    sync = threading.Thread(target=lambda: done.append(world.sync().status), daemon=True)
    sync.start()
    eventually(lambda: done)
    sync.join()
    assert (done, world.bucket.counts["get"]) == ([RunStatus.SUCCESS], 2)
    assert (world.ledger.dirty_count(), world.in_sync) == (1, False)


def test_a_key_that_fails_is_not_tried_for_ever_in_the_foreground(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasync.services.engine.outcomes.defer_seconds", lambda *_: 0.0)
    world.bucket.put("a", b"x")
    world.bucket.script("a", fail.status(403, times=1000))
    mark(world, "a")
    assert world.sync().status is RunStatus.PARTIAL
    assert world.bucket.counts["get"] <= 3


def test_the_loops_count_their_proofs(live: World) -> None:
    """Every proof is given back, however it ends: else they would come to a stop in time."""
    for number in range(30):
        live.bucket.put(f"{number:02}", b"x")
        live.bucket.put(f"parts/{number:02}", b"xyz", part_sizes=(1, 2))
    live.perform()
    live.file("07").write_bytes(b"y")
    for _ in range(2):
        assert live.perform(RunKind.VERIFY).status is RunStatus.SUCCESS
    loops = [one for one in threading.enumerate() if isinstance(one, TransferLoop)]
    assert loops and all(loop._proving.idle for loop in loops)


def test_small_objects_do_not_wait_for_a_listing_that_stands_still(
    live: World, never: threading.Event
) -> None:
    """They are kept together while more may come, but not for long."""
    live.bucket.page_size = 3
    for key in "abcdef":
        live.bucket.put(key, key.encode())
    live.bucket.script_list(replace(fail.pause_until(never), page=2))
    run, _ = live.service.request_run()
    eventually(lambda: len(live.tree()) == 3)
    assert live.status(run.id) is RunStatus.RUNNING


def test_a_run_that_has_compared_everything_waits_for_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "GATHER_SECONDS", 3600.0)
    world.bucket.put("a", b"x")
    assert world.sync().counts.downloaded == 1


def test_a_run_leaves_no_pages_of_the_ledger_in_memory(world: World) -> None:
    closed: list[object] = []
    event.listen(world.ledger._database._engine, "close", lambda *told: closed.append(told))
    world.bucket.put("a", b"x")
    world.sync()
    assert closed
