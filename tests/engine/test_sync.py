"""Whole runs over a fake bucket, a real folder and a real ledger."""

import os
from dataclasses import replace

import pytest

from datasync.errors import LeaseHeld
from datasync.models.sync_models import (
    ListedObject,
    Operation,
    RunKind,
    RunStatus,
    State,
    Verdict,
)
from datasync.services.engine.ranges import FIRST_BYTES, RANGE_BYTES
from tests.support import fail
from tests.support.world import World

MIB = 2**20


def fill(world: World, count: int = 30) -> None:
    for number in range(count):
        world.bucket.put(f"data/{number:03}.bin", f"object {number}".encode() * (number + 1))


def rot(world: World, key: str) -> None:
    """Let a file's bytes change so that no stat shows it."""
    file = world.file(key)
    stat = file.stat()
    file.write_bytes(b"\0" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def requests(world: World) -> int:
    return world.bucket.counts["get"] + world.bucket.counts["head"]


def test_a_cold_bucket_arrives_whole_and_a_second_run_asks_for_nothing(world: World) -> None:
    fill(world)
    for key in ("empty", "späce and + %20 ü", "deep/er/and/deeper/x", "a//b", "../up", "dir/"):
        world.bucket.put(key, b"" if key in ("empty", "dir/") else key.encode())
    run = world.sync()
    assert (run.status, run.counts.downloaded, run.counts.failed) == (RunStatus.SUCCESS, 35, 0)
    world.assert_equal()
    before = requests(world)
    again = world.sync()
    assert again.status is RunStatus.SUCCESS
    assert (again.counts.planned, again.counts.unchanged) == (0, 36)
    assert requests(world) == before


def test_changes_same_size_changes_and_deletes_follow(world: World) -> None:
    fill(world)
    world.sync()
    first = world.bucket.objects["data/001.bin"]
    world.bucket.put("data/001.bin", bytes(reversed(first.body)), last_modified=first.last_modified)
    world.bucket.put("data/002.bin", b"longer than it was before" * 9)
    world.bucket.put("new/one.bin", b"new")
    world.bucket.delete("data/003.bin")
    run = world.sync()
    assert run.status is RunStatus.SUCCESS
    assert (run.counts.downloaded, run.counts.deleted, run.counts.drift) == (3, 1, 4)
    world.assert_equal()
    assert world.trash() == ["data/003.bin"]


def test_the_date_is_last_modified_and_follows_without_a_download(world: World) -> None:
    world.bucket.put("a", b"same", last_modified=1_600_000_000)
    world.sync()
    assert world.file("a").stat().st_mtime == 1_600_000_000
    world.bucket.put("a", b"same", last_modified=1_600_000_111)
    before = requests(world)
    run = world.sync()
    assert (run.counts.downloaded, requests(world)) == (0, before)
    assert world.file("a").stat().st_mtime == 1_600_000_111
    assert world.sync().counts.planned == 0


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({}, Verdict.MD5),
        ({"part_size": 7 * MIB}, Verdict.MULTIPART_MD5),
        ({"part_sizes": (5 * MIB, 6 * MIB, 22 * MIB)}, Verdict.MULTIPART_MD5),
        ({"part_size": 7 * MIB, "checksum": "crc64nvme"}, Verdict.CRC64NVME),
        ({"checksum": "crc64nvme"}, Verdict.CRC64NVME),
        ({"encryption": "aws:kms", "etag": "0" * 32, "checksum": "sha256"}, Verdict.SHA256),
        ({"encryption": "SSE-C", "etag": "1" * 32}, Verdict.SIZE),
    ],
)
def test_a_large_object_comes_in_ranges_and_is_proved(
    world: World, more: dict[str, object], verdict: Verdict
) -> None:
    body = os.urandom(MIB) * 33
    stored = world.bucket.put("big.bin", body, **more)  # type: ignore[arg-type]
    assert world.sync().status is RunStatus.SUCCESS
    assert world.file("big.bin").read_bytes() == body
    assert world.row("big.bin").verdict is verdict
    ranged = [made for made in world.bucket.requests if made.first is not None]
    assert len(ranged) == 2 and {made.if_match for made in ranged} == {stored.etag}
    world.assert_nothing_staged()


@pytest.mark.parametrize("size", [1000, MIB, 9 * MIB])
def test_parts_that_nobody_can_tell_leave_the_size_as_the_only_proof(
    world: World, size: int
) -> None:
    world.bucket.parts_unknown = True
    world.bucket.put("m", os.urandom(size), part_sizes=(size // 3, size - size // 3))
    assert world.sync().status is RunStatus.SUCCESS
    assert world.row("m").verdict is Verdict.SIZE


@pytest.mark.parametrize("size", [1000, MIB, 9 * MIB])
def test_a_multipart_object_of_any_size_is_proved(world: World, size: int) -> None:
    world.bucket.put("m", os.urandom(size), part_sizes=(size // 3, size - size // 3))
    assert world.sync().status is RunStatus.SUCCESS
    assert world.row("m").verdict is Verdict.MULTIPART_MD5
    world.assert_equal()


def test_an_object_replaced_while_its_ranges_arrive_starts_again(world: World) -> None:
    old, new = os.urandom(33 * MIB), os.urandom(34 * MIB)
    world.bucket.put("big", old)
    world.bucket.script("big", fail.Fault())  # the first range, whose head tells of the old one
    world.bucket.script("big", fail.before(lambda: world.bucket.put("big", new)))
    run = world.sync()
    assert run.status is RunStatus.SUCCESS
    assert world.file("big").read_bytes() == new
    world.assert_nothing_staged()


def test_a_range_that_breaks_off_goes_on_where_it_stopped(world: World) -> None:
    body = os.urandom(33 * MIB)
    world.bucket.put("big", body)
    world.bucket.script("big", fail.Fault())
    world.bucket.script("big", fail.reset_after(3 * MIB))
    assert world.sync().status is RunStatus.SUCCESS
    assert world.file("big").read_bytes() == body
    starts = {FIRST_BYTES, FIRST_BYTES + RANGE_BYTES}  # one of them met the fault
    asked = [made.first for made in world.bucket.requests if made.first is not None]
    assert len(set(asked) & starts) == 2
    (again,) = set(asked) - starts
    assert again - 3 * MIB in starts


@pytest.mark.parametrize(
    "fault",
    [
        fail.wrong_byte(at=3),
        fail.short(by=1),
        fail.reset_after(5),
        fail.refused(),
        fail.status(500),
        fail.status(503),
        fail.status(429),
        fail.stall(at=2),
    ],
    ids=lambda fault: repr(fault)[:60],
)
def test_a_passing_fault_is_retried_until_the_object_is_right(
    world: World, fault: fail.Fault
) -> None:
    world.bucket.put("a", b"right bytes")
    world.bucket.script("a", fault)
    run = world.sync()
    assert (run.status, run.counts.downloaded) == (RunStatus.SUCCESS, 1)
    assert world.bucket.counts["get"] == 2
    world.assert_equal()


@pytest.mark.parametrize("size", [20, MIB, 9 * MIB])
def test_a_lasting_mismatch_keeps_the_old_file_and_fails_the_key_alone(
    world: World, size: int
) -> None:
    world.bucket.put("a", b"old")
    world.bucket.put("b", b"fine")
    world.sync()
    world.bucket.put("a", os.urandom(size))
    world.bucket.put("b", b"fine again")
    world.bucket.script("a", fail.wrong_byte(at=9, times=99))
    before = world.bucket.counts["get"]
    run = world.sync()
    assert (run.status, run.counts.failed, run.counts.downloaded) == (RunStatus.PARTIAL, 1, 1)
    assert world.bucket.counts["get"] - before == 3 + 1
    assert world.file("a").read_bytes() == b"old"
    assert world.row("a").state is State.FAILED
    failed = world.ledger.outcomes(run_id=run.id)[0]
    assert (failed.key, failed.error) == ("a", "ChecksumMismatch")
    world.assert_nothing_staged()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (fail.status(403, times=9), "AccessDenied"),
        (fail.status(301, times=9), "RedirectRefused"),
    ],
)
def test_what_cannot_get_better_is_not_retried_and_deletes_nothing(
    world: World, fault: fail.Fault, error: str
) -> None:
    fill(world, 3)
    world.sync()
    world.bucket.put("data/001.bin", b"changed")
    world.bucket.script("data/001.bin", fault)
    before = world.bucket.counts["get"]
    run = world.sync()
    assert run.status is RunStatus.PARTIAL
    assert world.bucket.counts["get"] - before == 1
    assert world.ledger.outcomes(run_id=run.id)[0].error == error
    assert len(world.tree()) == 3


# Listings and deletes


def test_a_listing_that_keeps_failing_deletes_nothing_and_fails_the_run(world: World) -> None:
    world.bucket.page_size = 10
    fill(world)
    world.sync()
    world.bucket.delete("data/001.bin")
    world.bucket.put("data/000.bin", b"changed")
    world.bucket.script_list(fail.at_page(2), *[fail.at_page(1)] * 5)
    run = world.sync()
    assert run.status is RunStatus.FAILED and run.error
    assert "data/001.bin" in world.tree()
    assert world.file("data/000.bin").read_bytes() == b"changed"
    assert world.ledger.planned_deletes(run.id) == []


def test_a_listing_goes_on_from_the_page_that_failed_for_now(world: World) -> None:
    world.bucket.page_size = 10
    fill(world)
    world.bucket.script_list(fail.at_page(2))
    run = world.sync()
    assert (run.status, run.counts.listed) == (RunStatus.SUCCESS, 30)
    assert world.bucket.counts["list"] == 1 + 1 + 2
    world.assert_equal()


def test_an_empty_listing_of_a_full_mirror_is_held_and_approval_still_asks_s3(
    world: World,
) -> None:
    fill(world)
    world.sync()
    world.bucket.list_empty()
    run = world.sync()
    assert run.status is RunStatus.HELD
    assert "empty" in (run.error or "") and str(run.id) in (run.hint or "")
    assert len(world.tree()) == 30
    world.bucket.delete("data/007.bin")
    world.service.approve(run.id)
    world.sync()
    assert "data/007.bin" not in world.tree()
    assert len(world.tree()) == 29


def test_too_many_deletes_are_held_and_applied_when_approved(world: World) -> None:
    fill(world, 40)
    world.sync()
    for number in range(15):
        world.bucket.delete(f"data/{number:03}.bin")
    world.bucket.put("data/020.bin", b"changed all the same")
    run = world.sync()
    assert run.status is RunStatus.HELD
    assert (run.counts.downloaded, run.counts.deleted) == (1, 0)
    assert len(world.tree()) == 40
    world.service.approve(run.id)
    applied = world.service.apply(run.id)
    assert (applied.id, applied.status) == (run.id, RunStatus.SUCCESS)
    assert applied.counts.deleted == 15
    world.assert_equal()
    assert len(world.trash()) == 15


def test_a_newer_run_supersedes_a_held_one(world: World) -> None:
    fill(world, 40)
    world.sync()
    for number in range(15):
        world.bucket.delete(f"data/{number:03}.bin")
    held = world.sync()
    newer = world.sync()
    assert world.ledger.run(held.id).status is RunStatus.CANCELLED
    assert newer.status is RunStatus.HELD
    current = world.ledger.held_run()
    assert current is not None and current.id == newer.id


def test_a_key_the_listing_forgot_is_kept_because_s3_still_has_it(world: World) -> None:
    fill(world)
    world.sync()
    hidden = world.bucket.objects.pop("data/005.bin")
    world.bucket.script(
        "data/005.bin",
        fail.before(lambda: world.bucket.objects.__setitem__("data/005.bin", hidden)),
    )
    world.bucket._sorted = None
    run = world.sync()
    assert (run.status, run.counts.deleted) == (RunStatus.PARTIAL, 0)
    assert "left out 1 key" in (run.error or "")
    world.assert_equal()


def test_a_delete_that_s3_answers_with_403_keeps_the_file(world: World) -> None:
    fill(world)
    world.sync()
    world.bucket.delete("data/005.bin")
    world.bucket.script("data/005.bin", fail.status(403, times=9))
    run = world.sync()
    assert (run.status, run.counts.deleted, run.counts.failed) == (RunStatus.PARTIAL, 0, 1)
    assert "data/005.bin" in world.tree()


def test_an_unordered_listing_is_sorted_first(world: World) -> None:
    world.bucket.page_size = 10
    world.bucket.list_unordered()
    fill(world)
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    world.bucket.delete("data/029.bin")
    run = world.sync()
    assert (run.counts.deleted, run.counts.unchanged) == (1, 29)
    world.assert_equal()


def test_a_prefix_run_touches_nothing_outside_it(world: World) -> None:
    fill(world, 3)
    world.bucket.put("other/x", b"x")
    world.sync()
    world.bucket.put("other/x", b"changed")
    world.bucket.put("data/000.bin", b"changed")
    world.bucket.delete("data/001.bin")
    run = world.sync("data/")
    assert (run.counts.listed, run.counts.downloaded, run.counts.deleted) == (2, 1, 1)
    assert world.file("other/x").read_bytes() == b"x"
    world.sync()
    world.assert_equal()


def test_s3_prefix_mirrors_a_part_of_the_bucket(world: World) -> None:
    fill(world, 3)
    world.bucket.put("other/x", b"x")
    world.reopen(prefix="oth")
    assert world.sync().counts.downloaded == 1
    assert world.tree() == {"other/x": b"x"}


# Objects that are not mirrored


def test_an_object_over_the_limit_is_counted_apart(world: World) -> None:
    world.reopen(max_bytes=100)
    world.bucket.put("big", b"x" * 101)
    world.bucket.put("small", b"x" * 100)
    assert world.sync().counts.downloaded == 1
    assert world.row("big").state is State.OVERSIZE
    assert world.sync().counts.planned == 0
    assert world.bucket.counts["get"] == 1


def test_an_object_that_grew_over_the_limit_leaves_the_old_file_stale(world: World) -> None:
    world.reopen(max_bytes=100)
    world.bucket.put("a", b"small")
    world.sync()
    world.bucket.put("a", b"x" * 101)
    world.sync()
    assert world.row("a").state is State.STALE
    assert world.file("a").read_bytes() == b"small"
    world.bucket.put("a", b"small again")
    world.sync()
    assert world.row("a").state is State.SYNCED
    world.assert_equal()


def test_an_object_that_grows_between_listing_and_download_is_not_taken(world: World) -> None:
    world.reopen(max_bytes=100)
    world.bucket.put("a", b"small")
    world.bucket.script("a", fail.before(lambda: world.bucket.put("a", b"x" * 101)))
    run = world.sync()
    assert (run.status, run.counts.skipped, run.counts.downloaded) == (RunStatus.SUCCESS, 1, 0)
    assert world.row("a").state is State.OVERSIZE
    assert world.tree() == {}


def test_archived_objects_are_counted_apart_and_picked_up_when_restored(world: World) -> None:
    world.bucket.put("cold", b"frozen", storage_class="DEEP_ARCHIVE")
    run = world.sync()
    assert (run.status, run.counts.skipped) == (RunStatus.SUCCESS, 1)
    assert world.row("cold").state is State.ARCHIVED
    assert world.bucket.counts["get"] == 0
    world.bucket.put("cold", b"frozen", storage_class="DEEP_ARCHIVE", restored=True)
    world.sync()
    assert world.row("cold").state is State.SYNCED
    world.assert_equal()


def test_a_synced_object_that_is_archived_later_is_kept(world: World) -> None:
    stored = world.bucket.put("a", b"warm")
    world.sync()
    world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    run = world.sync()
    assert run.counts.planned == 0
    assert world.row("a").state is State.SYNCED


@pytest.mark.parametrize("state", [State.ARCHIVED, State.OVERSIZE])
def test_a_lost_file_that_cannot_be_had_again_is_stale_no_more(world: World, state: State) -> None:
    stored = world.bucket.put("a", b"x" * 100)
    world.bucket.put("b", b"x")
    world.sync()
    if state is State.ARCHIVED:
        world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    else:
        world.reopen(max_bytes=10)
    world.file("a").unlink()
    before = requests(world)
    assert world.sync().status is RunStatus.SUCCESS
    assert (world.row("a").state, world.row("a").path) == (state, None)
    assert world.in_sync
    assert world.sync().counts.planned == 0
    assert requests(world) == before


def test_illegal_keys_are_rejected_by_name_once(world: World) -> None:
    world.bucket.put("fine", b"fine")
    world.bucket.list_also(ListedObject("bad%FF", 3, "e", 1, problem="the key is not UTF-8"))
    run = world.sync()
    assert (run.status, run.counts.skipped, run.counts.downloaded) == (RunStatus.SUCCESS, 1, 1)
    assert world.row("bad%FF").state is State.REJECTED
    again = world.sync()
    assert again.counts.planned == 0
    world.bucket._extra.clear()
    world.sync()
    assert world.ledger.get("bad%FF") is None


def test_folder_markers_are_recorded_and_nothing_is_stored(world: World) -> None:
    world.bucket.put("dir/", b"")
    world.bucket.put("dir/file", b"x")
    world.bucket.put("full/", b"not empty")
    world.sync()
    assert world.row("dir/").path is None
    assert sorted(world.tree()) == ["dir/file", "full/%FF"]
    world.bucket.put("full/", b"")
    world.sync()
    assert sorted(world.tree()) == ["dir/file"]
    assert world.sync().counts.planned == 0


# Files that were there, and local meddling


def test_a_file_whose_object_became_an_archived_folder_marker_is_not_forgotten(
    world: World,
) -> None:
    world.bucket.put("dir/", b"not empty")
    world.sync()
    world.bucket.put("dir/", b"", storage_class="GLACIER")
    world.sync()
    assert (world.row("dir/").state, world.in_sync) == (State.STALE, False)
    assert world.file("dir/").read_bytes() == b"not empty"
    world.bucket.put("dir/", b"")
    world.sync()
    assert (world.tree(), world.in_sync) == ({}, True)


def test_local_drift_is_found_by_stat_and_repaired(world: World) -> None:
    fill(world, 6)
    world.sync()
    world.file("data/000.bin").unlink()
    world.file("data/001.bin").write_bytes(b"resized by somebody")
    os.utime(world.file("data/002.bin"), (1, 1))
    same_size = world.file("data/003.bin").read_bytes()[::-1]
    world.file("data/003.bin").write_bytes(same_size)
    world.bucket.put("data/004.bin", b"changed in the bucket")
    before = world.bucket.counts["get"]
    run = world.sync()
    assert run.counts.downloaded == 4
    assert run.counts.drift == 1  # no event is missing for what somebody did here
    assert world.bucket.counts["get"] - before == 4
    world.assert_equal()
    assert world.trash() == ["data/001.bin", "data/003.bin"]
    assert world.sync().counts.planned == 0


def test_files_that_were_there_before_are_adopted_or_replaced_through_trash(
    world: World,
) -> None:
    fill(world, 3)
    (world.root / "data").mkdir()
    (world.root / "data/000.bin").write_bytes(world.bucket.objects["data/000.bin"].body)
    (world.root / "data/001.bin").write_bytes(b"?" * len(world.bucket.objects["data/001.bin"].body))
    (world.root / "notes.txt").write_bytes(b"not in the bucket")
    run = world.sync()
    assert (run.counts.adopted, run.counts.downloaded) == (1, 2)
    assert world.bucket.counts["get"] == 2
    assert world.trash() == ["data/001.bin"]
    assert world.tree().pop("notes.txt") == b"not in the bucket"


def test_a_lost_ledger_is_rebuilt_without_a_download_or_a_delete(world: World) -> None:
    fill(world)
    world.bucket.put("a", b"file")
    world.bucket.put("a/b", b"below it")
    world.bucket.put("parts", os.urandom(5000), part_size=1000)
    world.sync()
    tree, gets = world.tree(), world.bucket.counts["get"]
    world.lose_ledger()
    run = world.sync()
    assert (run.status, run.counts.adopted) == (RunStatus.SUCCESS, 33)
    assert (world.tree(), world.trash()) == (tree, [])
    assert world.bucket.counts["get"] == gets
    assert world.sync().counts.planned == 0


@pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a")])
def test_a_file_beside_a_folder_of_its_name(world: World, order: tuple[str, str]) -> None:
    for key in order:
        world.bucket.put(key, key.encode())
        assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    assert world.tree() == {"%FF=a": b"a", "a/b": b"a/b"}
    world.bucket.delete("a/b")
    world.bucket.put("a", b"changed")
    world.sync()
    world.assert_equal()
    assert world.sync().counts.planned == 0


def test_a_file_and_folders_of_its_name_in_one_run(world: World) -> None:
    for key in ("a", "a/b", "a/b/c", "a/b/c/d", "z/y", "z"):
        world.bucket.put(key, key.encode())
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    assert world.sync().counts.planned == 0


def test_verify_proves_every_file_again_and_repairs_rot(world: World) -> None:
    fill(world, 5)
    world.sync()
    rot(world, "data/002.bin")
    assert world.sync().counts.planned == 0
    run = world.sync(kind=RunKind.VERIFY)
    assert (run.status, run.counts.downloaded, run.counts.skipped) == (RunStatus.SUCCESS, 1, 4)
    world.assert_equal()


@pytest.mark.parametrize("encryption", ["aws:kms", "SSE-C"])
def test_verify_proves_files_whose_etag_only_looks_like_an_md5(
    world: World, encryption: str
) -> None:
    world.bucket.put("k", b"x" * 100, etag="0" * 32, encryption=encryption, checksum="crc64nvme")
    world.sync()
    run = world.sync(kind=RunKind.VERIFY)
    assert (run.counts.skipped, run.counts.downloaded) == (1, 0)
    assert world.row("k").verdict is Verdict.CRC64NVME
    rot(world, "k")
    assert world.sync(kind=RunKind.VERIFY).counts.downloaded == 1
    world.assert_equal()


def test_rot_is_repaired_although_s3_will_not_be_asked_about_the_object(world: World) -> None:
    world.bucket.put("a", b"x" * 100)
    world.sync()
    rot(world, "a")
    world.bucket.script("a", fail.status(503, times=99), method="HEAD")
    run = world.sync(kind=RunKind.VERIFY)
    assert (run.status, run.counts.downloaded) == (RunStatus.SUCCESS, 1)
    world.assert_equal()


def test_skip_existing_off_downloads_everything_again(world: World) -> None:
    fill(world, 3)
    world.sync()
    world.reopen(skip_existing=False)
    assert world.sync().counts.downloaded == 3
    world.assert_equal()


def test_skip_existing_off_asks_for_no_object_that_is_archived_by_now(world: World) -> None:
    stored = world.bucket.put("a", b"warm")
    world.sync()
    world.bucket.objects["a"] = replace(stored, storage_class="GLACIER")
    world.reopen(skip_existing=False)
    before = requests(world)
    assert (world.sync().counts.planned, requests(world)) == (0, before)
    assert world.in_sync


def test_verification_off_still_checks_the_length(world: World) -> None:
    world.reopen(verify=False)
    world.bucket.put("a", b"right")
    world.bucket.script("a", fail.wrong_byte(at=1))
    world.sync()
    assert world.row("a").verdict is Verdict.SIZE


# Runs


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(world: World) -> None:
    fill(world, 3)
    world.sync()
    world.bucket.put("data/000.bin", b"changed")
    world.bucket.delete("data/001.bin")
    tree, gets = world.tree(), world.bucket.counts["get"]
    steps = world.service.plan()
    plan = {action.key: action.operation for step in steps for action in step.actions}
    assert plan == {"data/000.bin": Operation.DOWNLOAD, "data/001.bin": Operation.DELETE}
    assert (world.tree(), world.bucket.counts["get"]) == (tree, gets)


def test_only_one_engine_at_a_time(world: World) -> None:
    other = World(world.folder)
    world.bucket.put("a", b"x")
    held: list[str] = []

    def try_other() -> None:
        with pytest.raises(LeaseHeld):
            other.sync()
        held.append("yes")

    world.bucket.script("a", fail.before(try_other))
    assert world.sync().status is RunStatus.SUCCESS
    assert held == ["yes"]
    other.close()


def test_an_unreachable_bucket_fails_the_run_with_its_reason(world: World) -> None:
    from datasync.errors import NetworkFailure

    fill(world, 2)
    world.sync()
    world.bucket.outage = NetworkFailure("no route to the endpoint")
    run = world.sync()
    assert (run.status, run.error) == (RunStatus.FAILED, "no route to the endpoint")
    assert len(world.tree()) == 2
