"""What goes wrong inside: the disk, the ledger, lying answers, mistakes. Each key on its own."""

import errno
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.errors import (
    DiskFull,
    LedgerBusy,
    LedgerError,
    MirrorError,
    MirrorUnavailable,
    NetworkFailure,
    ServerFault,
)
from datasync.models.sync_models import (
    FileStat,
    Run,
    RunKind,
    RunStatus,
    Settlement,
    State,
    Verdict,
)
from datasync.services.engine import fetch, integrity, proof, proving, scan
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.utils.file_utils import DiskCalls
from tests.support import fail
from tests.support.world import World, eventually

MIB = 2**20


def told(world: World, run_id: int) -> dict[str, str | None]:
    """The error class of each failed key of a run."""
    failed = world.ledger.outcomes(run_id=run_id)
    return {outcome.key: outcome.error for outcome in failed if outcome.error}


# The ledger


def test_a_ledger_that_refuses_fails_the_run_and_the_next_one_adopts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "settle", _raising(LedgerError("the database is broken")))
        run = world.sync()
    assert (run.status, run.error) == (RunStatus.FAILED, "the database is broken")
    assert world.tree() == {"a": b"x"}
    world.assert_nothing_staged()
    gets = world.bucket.counts["get"]
    assert world.sync().counts.adopted == 1
    assert world.bucket.counts["get"] == gets


def test_a_busy_ledger_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.bucket.put("a", b"x")
    settle, busy = Ledger.settle, [LedgerBusy("locked"), LedgerBusy("locked")]

    def sometimes(ledger: Ledger, settlement: Settlement) -> None:
        if busy:
            raise busy.pop()
        settle(ledger, settlement)

    monkeypatch.setattr(Ledger, "settle", sometimes)
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_a_ledger_that_is_busy_when_a_run_looks_around_does_not_end_it(
    live: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    live.bucket.put("a", b"x")
    live.bucket.script("a", fail.pause_until(gate))
    run, _ = live.service.request_run()
    eventually(lambda: live.bucket.counts["get"] == 1)
    look, busy = Ledger.run, [LedgerBusy("a failover")]

    def sometimes(ledger: Ledger, run_id: int) -> Run:
        if busy and threading.current_thread().name == f"run-{run.id}":
            raise busy.pop()
        return look(ledger, run_id)

    monkeypatch.setattr(Ledger, "run", sometimes)
    eventually(lambda: not busy)
    gate.set()
    eventually(lambda: live.ledger.run(run.id).finished is not None)
    assert live.status(run.id) is RunStatus.SUCCESS


def test_a_ledger_without_room_for_an_event_is_asked_again_after_a_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    settle, refused = Ledger.settle, threading.Event()

    def once(ledger: Ledger, settlement: Settlement) -> None:
        if not refused.is_set():
            refused.set()
            raise DiskFull("the disk of the ledger")
        settle(ledger, settlement)

    monkeypatch.setattr(Ledger, "settle", once)
    world.service.start()
    world.service.mark([("a", "event")])
    eventually(lambda: refused.is_set() and world.ledger.dirty_count() == 0)
    world.assert_equal()


# The disk


def test_a_full_disk_fails_the_keys_with_its_name_and_keeps_the_old_files(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"small": 10, "middle": MIB, "large": 20 * MIB}
    for key in sizes:
        world.bucket.put(key, b"old")
    world.sync()
    for key, size in sizes.items():
        world.bucket.put(key, os.urandom(size))
    with monkeypatch.context() as patched:
        patched.setattr(DiskCalls, "write_at", _raising(OSError(errno.ENOSPC, "no space left")))
        patched.setattr(Mirror, "check", lambda mirror: None)
        run = world.sync()
    assert run.status is RunStatus.PARTIAL
    assert told(world, run.id) == dict.fromkeys(("small", "middle", "large"), "DiskFull")
    assert set(world.tree().values()) == {b"old"}
    world.assert_nothing_staged()
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_a_delete_that_the_disk_refuses_is_reported_and_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    world.bucket.put("b", b"y")
    world.sync()
    world.bucket.delete("a")

    def refuse(
        mirror: Mirror, batch: Sequence[FileStat], *, label: str
    ) -> list[bool | MirrorError]:
        return [MirrorError(f"{label}: Input/output error") for _ in batch]

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "remove", refuse)
        run = world.sync()
    assert (run.status, told(world, run.id)) == (RunStatus.PARTIAL, {"a": "MirrorError"})
    assert world.sync().counts.deleted == 1
    world.assert_equal()


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_something_of_the_users_where_a_folder_must_be_is_reported(world: World, kind: str) -> None:
    outside = world.folder / "outside"
    outside.mkdir()
    if kind == "file":
        (world.root / "a").write_bytes(b"mine")
    else:
        (world.root / "a").symlink_to(outside if kind == "link" else outside / "nothing")
    world.bucket.put("a/b", b"below")
    world.bucket.put("c", b"fine")
    run = world.sync()
    assert (run.status, told(world, run.id)) == (RunStatus.PARTIAL, {"a/b": "PathConflict"})
    assert list(outside.iterdir()) == []
    (world.root / "a").unlink()
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


def test_a_link_at_the_objects_own_path_goes_to_the_trash_and_is_not_followed(
    world: World,
) -> None:
    outside = world.folder / "outside"
    outside.write_bytes(b"not ours")
    (world.root / "a").symlink_to(outside)
    world.bucket.put("a", b"ours")
    assert world.sync().status is RunStatus.SUCCESS
    assert not (world.root / "a").is_symlink()
    assert (world.tree(), outside.read_bytes()) == ({"a": b"ours"}, b"not ours")


def test_a_vanished_root_deletes_nothing_and_fails_by_name(world: World) -> None:
    world.bucket.put("a", b"x")
    world.sync()
    moved = world.root.rename(world.folder / "elsewhere")
    with pytest.raises(MirrorUnavailable):
        world.sync()
    assert (moved / "a").read_bytes() == b"x"
    assert not world.root.exists()
    moved.rename(world.root)
    assert world.sync().status is RunStatus.SUCCESS


def test_a_service_whose_root_comes_back_goes_on(world: World) -> None:
    world.bucket.put("a", b"x")
    world.sync()
    moved = world.root.rename(world.folder / "elsewhere")
    world.service.start()
    eventually(lambda: isinstance(world.service.last_problem, MirrorUnavailable))
    moved.rename(world.root)
    eventually(lambda: world.service.leading, 20)


def test_a_date_that_cannot_be_set_costs_nothing_but_the_date(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    world.sync()
    world.bucket.put("a", b"x", last_modified=1_600_000_000)
    monkeypatch.setattr(Mirror, "touch", _raising(MirrorError("read-only file system")))
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()


# Answers that lie


@pytest.mark.parametrize(
    "lie",
    [
        fail.head(etag="f" * 32),
        fail.head(size=40 * MIB),
        fail.head(first=5),
        fail.short(by=1),
        fail.status(412),
        fail.status(416),
        fail.status(403),
    ],
    ids=["etag", "size", "offset", "short", "412", "416", "403"],
)
def test_a_range_that_lies_never_reaches_the_mirror(world: World, lie: fail.Fault) -> None:
    body = os.urandom(33 * MIB)
    world.bucket.put("big", b"old")
    world.sync()
    world.bucket.put("big", body)
    world.bucket.script("big", fail.Fault(), lie)
    run = world.sync()
    expected = b"old" if told(world, run.id) else body
    assert world.file("big").read_bytes() == expected
    world.assert_nothing_staged()
    world.sync()
    world.assert_equal()


@pytest.mark.parametrize("size", [10, MIB])
def test_a_body_of_another_length_than_announced_is_refused(live: World, size: int) -> None:
    """Looked at for an event: no listing says how long it should be."""
    live.bucket.put("a", os.urandom(size))
    live.bucket.script("a", fail.head(size=size + 1, encryption="SSE-C"))
    live.service.mark([("a", "event")])
    eventually(lambda: live.ledger.get("a"))
    assert live.bucket.counts["get"] == 2
    live.assert_equal()


def test_a_small_object_that_drips_is_given_up_in_time(world: World) -> None:
    never = threading.Event()
    world.reopen(timeout_seconds=0.3, attempts=1)
    world.bucket.put("a", b"x" * 100)
    world.bucket.script("a", fail.pause_until(never, at=5))
    run = world.sync()
    assert told(world, run.id) == {"a": "TransferStalled"}


def test_ranges_that_keep_failing_give_the_object_up(world: World) -> None:
    world.bucket.put("big", os.urandom(33 * MIB))
    world.bucket.script("big", fail.Fault(), fail.reset_after(10, times=50))
    world.bucket.put("other", b"fine")
    run = world.sync()
    assert told(world, run.id) == {"big": "NetworkFailure"}
    assert world.tree() == {"other": b"fine"}
    world.assert_nothing_staged()


# Proofs


def test_an_adoption_that_s3_cannot_answer_now_is_tried_again(world: World) -> None:
    body = os.urandom(1000)
    world.bucket.put("a", body, part_sizes=(400, 600))
    (world.root / "a").write_bytes(body)
    world.bucket.script("a", fail.status(503), method="HEAD")
    run = world.sync()
    assert (run.counts.adopted, world.bucket.counts["get"]) == (1, 0)


def test_an_adoption_of_another_version_downloads(world: World) -> None:
    body = os.urandom(1000)
    world.bucket.put("a", body, part_sizes=(400, 600))
    (world.root / "a").write_bytes(body)
    world.bucket.script("a", fail.head(etag="e" * 32 + "-2"), method="HEAD")
    run = world.sync()
    assert (run.counts.adopted, run.counts.downloaded) == (0, 1)
    world.assert_equal()


def put_with_files(world: World, count: int) -> list[str]:
    """Small objects whose files are there already; their keys."""
    keys = [f"{number:03}" for number in range(count)]
    for key in keys:
        world.bucket.put(key, key.encode())
        (world.root / key).write_bytes(key.encode())
    return keys


def test_of_small_files_that_are_proved_together_another_one_is_downloaded(world: World) -> None:
    keys = put_with_files(world, 100)
    (world.root / keys[7]).write_bytes(b"oth")
    run = world.sync()
    assert (run.counts.adopted, run.counts.downloaded) == (99, 1)
    assert world.bucket.counts["head"] == 1
    world.assert_equal()


def test_a_mistake_in_the_proof_of_one_of_several_files_is_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, prove = put_with_files(world, 100), proof.prove_listed

    def fail_for_one(open_file: object, file: FileStat, *more: object) -> object:
        if file.path == keys[7]:
            raise ZeroDivisionError("a mistake")
        return prove(open_file, file, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(proving, "prove_listed", fail_for_one)
    run = world.sync()
    assert told(world, run.id) == {keys[7]: "InternalFault"}
    assert run.counts.adopted == 99


def test_a_file_that_nothing_can_prove_is_downloaded_not_adopted(world: World) -> None:
    world.bucket.put("a", b"bytes", encryption="SSE-C", etag="opaque")
    (world.root / "a").write_bytes(b"bytes")
    run = world.sync()
    assert (run.counts.adopted, run.counts.downloaded) == (0, 1)
    again = world.sync(kind=RunKind.VERIFY)
    assert (again.counts.downloaded, world.row("a").verdict) == (0, Verdict.SIZE)


def test_a_file_that_vanishes_while_it_is_proved_is_downloaded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"bytes")
    (world.root / "a").write_bytes(b"bytes")
    expect_listed = integrity.expect_listed

    def unlink_first(listed: object) -> object:
        (world.root / "a").unlink(missing_ok=True)
        return expect_listed(listed)  # type: ignore[arg-type]

    monkeypatch.setattr(proof, "expect_listed", unlink_first)
    assert world.sync().counts.downloaded == 1
    world.assert_equal()


def test_part_sizes_that_cannot_be_asked_for_fail_the_try(world: World) -> None:
    body = os.urandom(MIB)
    world.bucket.put("a", body, part_sizes=(MIB // 2, MIB // 2))
    parts, errors = world.bucket.parts, [ServerFault("later")]

    def failing(key: str, etag: str, count: int) -> tuple[int, ...]:
        if errors:
            raise errors.pop()
        return parts(key, etag, count)

    world.bucket.parts = failing  # type: ignore[method-assign]
    assert world.sync().status is RunStatus.SUCCESS
    assert (world.bucket.counts["get"], world.row("a").verdict) == (2, Verdict.MULTIPART_MD5)


# Mistakes of ours


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_mistake_in_one_transfer_is_reported_and_others_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    world.reopen(concurrency=1)
    world.bucket.put("a", os.urandom(size))
    world.bucket.put("b", b"fine")
    wrong, expect = [ZeroDivisionError("a mistake")], integrity.expect

    def expect_once(head: object, *, verify: bool = True) -> object:
        if wrong:
            raise wrong.pop()
        return expect(head, verify=verify)  # type: ignore[arg-type]

    monkeypatch.setattr(fetch, "expect", expect_once)
    run = world.sync()
    assert run.status is RunStatus.PARTIAL
    assert set(told(world, run.id)) == {"a"}
    assert world.tree() == {"b": b"fine"}
    world.assert_nothing_staged()


def test_a_mistake_in_a_proof_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.bucket.put("a", b"x")
    (world.root / "a").write_bytes(b"x")
    monkeypatch.setattr(proving, "prove_listed", _raising(ZeroDivisionError("a mistake")))
    run = world.sync()
    assert told(world, run.id) == {"a": "InternalFault"}


@pytest.mark.parametrize("files", [True, False])
def test_a_mistake_in_a_question_is_reported_and_no_other_objects(
    world: World, files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        world.bucket.put(key, key.encode() * 1000, part_sizes=(400, 600))
        if files:
            (world.root / key).write_bytes(key.encode() * 1000)
    parts = world.bucket.parts

    def fail_for_one(key: str, etag: str, count: int) -> tuple[int, ...]:
        if key == "a":
            raise ZeroDivisionError("a mistake")
        return parts(key, etag, count)

    monkeypatch.setattr(world.bucket, "parts", fail_for_one)
    run = world.sync()
    assert told(world, run.id) == {"a": "InternalFault"}
    assert world.row("b").verdict is Verdict.MULTIPART_MD5


def test_a_mistake_in_a_run_ends_it_as_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bucket.put("a", b"x")
    world.service.start()
    with monkeypatch.context() as patched:
        patched.setattr(scan.Scan, "steps", _raising(ZeroDivisionError("a mistake")))
        run, _ = world.service.request_run()
        eventually(lambda: world.ledger.run(run.id).status is RunStatus.FAILED)
    assert world.ledger.run(run.id).error == "ZeroDivisionError"
    again, _ = world.service.request_run()
    eventually(lambda: world.ledger.run(again.id).status is RunStatus.SUCCESS)


# Listings


def test_an_unordered_listing_that_fails_is_read_again_from_its_start(world: World) -> None:
    world.bucket.page_size = 10
    world.bucket.list_unordered()
    for number in range(30):
        world.bucket.put(f"{number:02}", b"x")
    world.bucket.script_list(fail.Fault(), fail.at_page(3))
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    world.bucket.script_list(fail.Fault(), *[fail.at_page(2)] * 3)
    world.bucket.delete("00")
    run = world.sync()
    assert run.status is RunStatus.FAILED
    assert "00" in world.tree()


def test_a_key_that_went_between_two_tries_of_an_unordered_listing_is_not_believed(
    world: World,
) -> None:
    world.bucket.page_size = 10
    world.bucket.list_unordered()
    for number in range(30):
        world.bucket.put(f"{number:02}", b"x")
    broken = replace(fail.at_page(3), hook=lambda: world.bucket.delete("05"))
    world.bucket.script_list(fail.Fault(), broken)
    run = world.sync()
    assert (run.counts.listed, run.counts.downloaded, run.counts.skipped) == (29, 29, 0)


def test_a_listing_that_hangs_does_not_keep_the_service_from_stopping(world: World) -> None:
    never, asked = threading.Event(), threading.Event()
    world.bucket.put("a", b"x")
    world.bucket.script_list(replace(fail.pause_until(never), hook=asked.set))
    world.service.start()
    run, _ = world.service.request_run()
    eventually(asked.is_set)
    world.service.stop(10)
    assert world.ledger.run(run.id).status is RunStatus.INTERRUPTED
    never.set()


def test_more_rows_than_a_page_between_two_listed_keys(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "ROWS", 7)
    for number in range(40):
        world.bucket.put(f"{number:02}", b"x")
    world.sync()
    for number in range(5, 30):
        world.bucket.delete(f"{number:02}")
    run = world.sync()
    assert (run.status, run.deletes_planned) == (RunStatus.HELD, 25)
    world.service.approve(run.id)
    world.service.apply(run.id)
    world.assert_equal()


# Events and their keys


def test_an_event_for_a_key_that_is_nowhere_changes_nothing(world: World) -> None:
    world.service.start()
    world.service.mark([("nowhere", "event")])
    eventually(lambda: world.ledger.dirty_count() == 0)
    assert world.tree() == {}


def test_marks_outside_the_prefix_are_dropped_without_a_request(world: World) -> None:
    world.bucket.put("out", b"x")
    world.service.mark([("out", "event")])
    world.reopen(prefix="in/")
    world.service.start()
    eventually(lambda: world.ledger.dirty_count() == 0)
    assert (world.tree(), world.bucket.counts["get"]) == ({}, 0)


def test_an_archived_object_in_an_event_is_recorded_without_a_failure(world: World) -> None:
    world.bucket.put("a", b"old")
    world.sync()
    world.bucket.put("a", b"frozen", storage_class="GLACIER")
    world.bucket.put("b", b"frozen", storage_class="GLACIER")
    world.service.mark([("a", "event"), ("b", "event")])
    world.service.start()
    eventually(lambda: world.ledger.dirty_count() == 0)
    assert (world.row("a").state, world.row("b").state) == (State.STALE, State.ARCHIVED)
    assert world.tree() == {"a": b"old"}


def test_an_event_of_an_object_that_was_only_archived_changes_nothing(world: World) -> None:
    stored = world.bucket.put("a", b"warm")
    world.sync()
    before = world.row("a")
    world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    world.service.mark([("a", "event")])
    world.sync()
    assert (world.row("a"), world.in_sync) == (before, True)
    assert (world.bucket.counts["get"], world.bucket.counts["head"]) == (2, 1)


def test_an_archived_object_whose_file_was_changed_here_is_not_called_current(
    world: World,
) -> None:
    stored = world.bucket.put("a", b"warm")
    world.sync()
    world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    world.file("a").write_bytes(b"changed")
    world.service.mark([("a", "event")])
    world.service.start()
    eventually(lambda: world.ledger.dirty_count() == 0)
    assert world.row("a").state is State.STALE


@pytest.mark.parametrize(
    ("then", "state"),
    [
        (fail.status(503), State.SYNCED),  # asked again
        (fail.status(403), State.STALE),  # nobody can tell: the refusal stands
        (fail.head(etag="other"), State.STALE),
        (fail.status(404), None),
    ],
    ids=["busy", "denied", "another version", "gone"],
)
def test_what_s3_says_of_the_version_of_an_archived_object_counts(
    world: World, then: fail.Fault, state: State | None
) -> None:
    stored = world.bucket.put("a", b"warm")
    world.sync()
    world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    world.bucket.script("a", then, method="HEAD")
    world.service.mark([("a", "event")])
    world.service.start()
    eventually(lambda: world.ledger.dirty_count() == 0)
    row = world.ledger.get("a")
    assert (row.state if row else None) is state
    assert world.tree() == ({"a": b"warm"} if state else {})


def test_rows_without_a_file_go_without_a_question(world: World) -> None:
    world.reopen(max_bytes=10)
    for number in range(15):
        world.bucket.put(f"big/{number}", b"x" * 11)
    world.sync()
    for number in range(15):
        world.bucket.delete(f"big/{number}")
    world.bucket.put("small", b"x")
    run = world.sync()
    assert (run.status, run.counts.deleted) == (RunStatus.SUCCESS, 15)
    assert world.bucket.counts["get"] == 1
    assert world.ledger.totals().objects == 1


def test_an_outage_during_the_deletes_keeps_the_files(world: World) -> None:
    for number in range(5):
        world.bucket.put(f"{number}", b"x")
    world.sync()
    world.bucket.delete("3")
    world.bucket.script("3", fail.error(NetworkFailure("gone"), times=9))
    run = world.sync()
    assert (run.status, run.counts.deleted) == (RunStatus.PARTIAL, 0)
    assert "3" in world.tree()


def test_a_lease_file_that_is_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    lease = world.root / ".datasync" / "lease.lock"
    lease.unlink(missing_ok=True)
    lease.symlink_to(outside)
    with pytest.raises(MirrorError):
        world.sync()
    assert not outside.exists()


def _raising(error: Exception):  # type: ignore[no-untyped-def]
    def call(*_: object, **__: object) -> None:
        raise error

    return call
