"""What happens at a bad moment between two steps of the engine, and what is tried again."""

import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import AccessDenied, DiskFull, LedgerError, NetworkFailure
from datasync.models.sync_models import (
    DirtyKey,
    ListedObject,
    ListingPage,
    RunKind,
    RunStatus,
    State,
)
from datasync.services.engine import dispatch, levels, queues, runner
from datasync.services.engine.workshop import Workshop
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from tests.support import fail
from tests.support.world import OPTIONS, World, eventually

MIB = 2**20


def status(world: World, run_id: int) -> RunStatus:
    return world.ledger.run(run_id).status


def settled(world: World) -> bool:
    return world.ledger.dirty_count() == 0


class Broken:
    """A call of the ledger or the disk that fails while `on`."""

    def __init__(
        self, patch: pytest.MonkeyPatch, owner: type[Any], name: str, error: Exception
    ) -> None:
        self.on = True
        self.calls = 0
        original = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:
            if self.on:
                self.calls += 1
                raise error
            return original(*args, **more)

        patch.setattr(owner, name, call)


# Between two steps


def test_a_file_that_comes_while_its_delete_is_confirmed_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reopen(max_bytes=10)
    world.bucket.put("other", b"x")
    world.bucket.put("a", b"x" * 11)
    assert world.sync().status is RunStatus.SUCCESS
    world.bucket.delete("a")
    dirty, pending = Ledger.dirty, [True]

    def come_back(ledger: Ledger, keys: Sequence[str]) -> dict[str, DirtyKey]:
        if "a" in keys and pending:
            pending.pop()
            world.bucket.put("a", b"small")
            world.service.mark([("a", "event")])
            eventually(lambda: world.row("a").path)
        return dirty(ledger, keys)

    monkeypatch.setattr(Ledger, "dirty", come_back)
    world.service.start()
    run, _ = world.service.request_run()
    eventually(lambda: status(world, run.id) is RunStatus.SUCCESS)
    world.assert_equal()
    assert world.trash() == []


def test_a_record_of_an_older_listing_does_not_hide_a_newer_file(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, pending = Workshop.submit_results, [True]
    live.bucket.put("a", b"cold", storage_class="GLACIER")

    def thaw_first(workshop: Workshop, tally: Any, results: Sequence[Any], *more: Any) -> None:
        if results and pending:
            pending.pop()
            live.bucket.put("a", b"warm")
            live.service.mark([("a", "event")])
            eventually(lambda: live.ledger.get("a"))
            eventually(lambda: settled(live))
        submit(workshop, tally, results, *more)

    monkeypatch.setattr(Workshop, "submit_results", thaw_first)
    run, _ = live.service.request_run()
    eventually(lambda: status(live, run.id) is RunStatus.SUCCESS)
    assert not pending and live.row("a").state is State.SYNCED
    live.assert_equal()


def test_a_listing_that_turns_out_unordered_late_takes_its_deletes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        world.bucket.put(f"{number:02}", b"x")
    world.sync()
    listed = [stored.listed(key) for key, stored in sorted(world.bucket.objects.items())]

    def pages(prefix: str = "", start_after: str = "") -> Iterator[ListingPage]:
        yield ListingPage(tuple(listed[20:]), last=False)
        yield ListingPage(tuple(listed[:20]), last=True)

    monkeypatch.setattr(world.bucket, "list", pages)
    gets = world.bucket.counts["get"]
    assert [step.actions for step in world.service.plan() if step.actions] == []
    run = world.sync()
    assert (run.status, run.deletes_planned, run.counts.planned) == (RunStatus.SUCCESS, 0, 0)
    assert (run.counts.listed, run.counts.unchanged) == (40, 40)
    assert world.bucket.counts["get"] == gets


def test_a_legal_key_named_as_a_refused_one_is_reported_keeps_its_row(world: World) -> None:
    world.bucket.put("bad\\xff", b"legal")
    world.bucket.list_also(ListedObject("bad\\xff", 3, "e", 1, problem="its key is not UTF-8"))
    world.sync()
    assert world.sync().counts.planned == 0
    assert world.row("bad\\xff").state is State.SYNCED
    world.assert_equal()


# The ledger at a bad moment


def test_a_ledger_error_while_the_queue_is_full_ends_the_run_and_keeps_no_key(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "BULK_QUEUE", 1)
    gate = threading.Event()
    live.bucket.page_size = 20
    for number in range(60):
        live.bucket.put(f"{number:02}", b"x")
        live.bucket.script(f"{number:02}", fail.pause_until(gate))
    with monkeypatch.context() as patch:
        broken = Broken(patch, Ledger, "save_counts", LedgerError("the database is broken"))
        broken.on = False
        run, _ = live.service.request_run()
        eventually(lambda: live.bucket.counts["get"] == levels.START)  # a page waits behind
        broken.on = True
        eventually(lambda: broken.calls)
        gate.set()
        eventually(lambda: status(live, run.id) is RunStatus.FAILED)
    again, _ = live.service.request_run()
    eventually(lambda: status(live, again.id) is RunStatus.SUCCESS)
    live.assert_equal()


def test_a_run_whose_end_could_not_be_recorded_is_not_joined_for_ever(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(monkeypatch, Ledger, "finish_run", LedgerError("the database is broken"))
    run, _ = live.service.request_run()
    eventually(lambda: broken.calls == 2)  # the run itself, and whoever gives it up
    broken.on = False
    eventually(lambda: status(live, run.id) is not RunStatus.RUNNING)
    again, new = live.service.request_run()
    eventually(lambda: status(live, again.id) is RunStatus.SUCCESS)
    assert new


def test_an_engine_that_cannot_open_says_why_and_leaves_nothing_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(monkeypatch, Ledger, "interrupt_runs", LedgerError("no database"))
    world.service.start()
    eventually(lambda: broken.calls)
    eventually(lambda: world.service.last_problem and not world.service.leading)
    assert isinstance(world.service.last_problem, LedgerError)
    open_files = [os.path.realpath(f"/dev/fd/{name}") for name in os.listdir("/dev/fd")]
    assert [name for name in open_files if name.endswith("/wake")] == []


# Schedule and housekeeping


def test_a_long_run_that_failed_is_repeated_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RETRY_SECONDS", 0.01)
    world = World(tmp_path, replace(OPTIONS, interval_seconds=3600.0))
    gate, asked = threading.Event(), threading.Event()
    refused = fail.Fault(until=gate, hook=asked.set, error=AccessDenied("not yet"), page=1)
    world.bucket.script_list(refused)
    world.service.start()
    assert asked.wait(10)
    world.service.mark([("a", "event")])
    eventually(lambda: settled(world))  # the runner has had its turns meanwhile
    gate.set()
    eventually(lambda: RunStatus.SUCCESS in {run.status for run in world.ledger.runs()})
    world.close()


def test_an_applied_plan_does_not_count_as_a_reconciliation(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    monkeypatch.setattr(runner.Schedule, "began", lambda schedule, now: began.append(now))
    live.bucket.put("a", b"x")
    first, _ = live.service.request_run()
    eventually(lambda: status(live, first.id) is RunStatus.SUCCESS)
    live.bucket.delete("a")
    held, _ = live.service.request_run()
    eventually(lambda: status(live, held.id) is RunStatus.HELD)
    assert len(began) == 2
    live.service.approve(held.id)
    eventually(lambda: status(live, held.id) is RunStatus.SUCCESS)
    assert len(began) == 2


def test_a_full_disk_does_not_keep_the_trash_from_being_emptied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = threading.Event()
    monkeypatch.setattr(Mirror, "prune_trash", lambda *_: pruned.set())
    Broken(monkeypatch, Mirror, "check", DiskFull("no space left"))
    world.service.mark([("a", "event")])
    world.service.start()
    assert pruned.wait(10)


def test_marks_outside_the_prefix_go_in_any_number(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "IN_HAND", 5)
    world.service.mark([(f"out/{number}", "event") for number in range(12)])
    world.reopen(prefix="in/")
    world.sync()
    assert settled(world)


# Tries


def test_a_range_is_tried_as_often_as_the_object_may_be(world: World) -> None:
    world.bucket.put("big", os.urandom(33 * MIB))
    world.bucket.script("big", fail.Fault(), fail.reset_after(10, times=50))
    assert world.sync().status is RunStatus.PARTIAL
    tries = Counter(made.last for made in world.bucket.requests)
    assert tries[None] == 1 and max(tries.values()) == OPTIONS.attempts


def test_connections_lost_together_do_not_start_a_large_object_again(world: World) -> None:
    world.reopen(attempts=2)
    world.bucket.put("big", os.urandom(60 * MIB))
    world.bucket.script("big", fail.Fault(), fail.refused(times=3))
    assert world.sync().status is RunStatus.SUCCESS
    assert Counter(made.first for made in world.bucket.requests)[None] == 1
    world.assert_equal()


def test_a_proof_that_s3_refuses_leaves_the_object_to_tell(world: World) -> None:
    world.bucket.put("a", b"x" * 1000, part_sizes=(400, 600))
    (world.root / "a").write_bytes(b"x" * 1000)
    world.bucket.script("a", fail.status(403), method="HEAD")
    run = world.sync()
    assert (run.status, run.counts.downloaded) == (RunStatus.SUCCESS, 1)


def test_rot_that_could_not_be_repaired_is_not_forgotten(world: World) -> None:
    world.bucket.put("a", b"right")
    world.sync()
    times = world.file("a").stat()
    world.file("a").write_bytes(b"wrong")
    os.utime(world.file("a"), ns=(times.st_atime_ns, times.st_mtime_ns))
    world.bucket.script("a", fail.error(NetworkFailure("down"), times=3), method="GET")
    assert world.sync(kind=RunKind.VERIFY).status is RunStatus.PARTIAL
    assert world.row("a").state is State.FAILED
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_drift_is_counted_while_a_key_keeps_failing_and_no_try_of_ours_is_drift(
    world: World,
) -> None:
    world.bucket.put("a", b"x")
    world.bucket.put("b", b"x")
    world.bucket.script("b", fail.status(403, times=9))
    assert world.sync().counts.drift == 0
    world.bucket.put("a", b"changed")
    run = world.sync()
    assert (run.status, run.counts.drift) == (RunStatus.PARTIAL, 1)
    world.reopen(skip_existing=False)
    assert world.sync().counts.drift == 0
