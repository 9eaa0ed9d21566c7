"""The command line on the real engine: a real folder, a real ledger, a bucket in memory."""

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from datasync.cli.display import Lines
from datasync.cli.entry import run_command
from datasync.composition import compose
from datasync.config.loading import load_settings
from datasync.models.sync_models import RunKind, RunStatus
from tests.support import fail
from tests.support.command_line import CommandLine, use_settings
from tests.support.world import eventually

HOSTILE = "bad[red]\x1b[31m\n\u202ekey"


# -- sync ----------------------------------------------------------------------------------------


def test_sync_makes_the_mirror_equal_and_says_so(command_line: CommandLine) -> None:
    command_line.bucket.put("a.txt", b"one")
    command_line.bucket.put("dir/b.txt", b"two")
    ran = command_line("sync")
    assert ran.code == 0, ran.err
    assert command_line.files() == {"a.txt": b"one", "dir/b.txt": b"two"}
    message, verdict = ran.out.splitlines()
    assert message.startswith("Synced 2 of 2 files in ")
    assert verdict == "The mirror is in sync with the bucket."


def test_sync_json_is_one_document_and_nothing_else(command_line: CommandLine) -> None:
    command_line.bucket.put("a.txt", b"one")
    ran = command_line("sync", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["status"] == "success"
    assert ran.json["in_sync"] is True
    assert ran.json["successful_operations"] == 1
    assert ran.json["sync_details"][0]["file_key"] == "a.txt"
    assert command_line("sync", "--json").json["skipped_files"] == 1


def test_sync_of_a_prefix_leaves_the_rest(command_line: CommandLine) -> None:
    command_line.bucket.put("in/a", b"1")
    command_line.bucket.put("out/b", b"2")
    assert command_line("sync", "--prefix", "in/").code == 0
    assert command_line.files() == {"in/a": b"1"}


def test_a_prefix_outside_the_configured_one_is_refused(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_PREFIX", "in/")
    ran = command_line("sync", "--prefix", "out/")
    assert ran.code == 2
    assert "outside S3_PREFIX" in ran.err
    assert command_line.files() == {}


def test_the_whole_of_a_mirrored_prefix_is_one_run_by_either_name(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_PREFIX", "in/")
    command_line.bucket.put("in/a", b"1")
    command_line.bucket.put("in/b/c", b"1")
    for prefix in ("", "in/", "in/b/"):
        assert command_line("sync", "--prefix", prefix).code == 0
    runs = command_line("runs", "--json").json["runs"]
    assert [run["prefix"] for run in runs] == ["in/b/", "", ""]


def test_adopting_another_prefix_leaves_the_other_files_and_gets_in_sync(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line.bucket.put("in/a", b"1")
    command_line.bucket.put("out/b", b"2")
    assert command_line("sync").code == 0
    command_line.bucket.put("out/b", b"3")
    monkeypatch.setenv("S3_PREFIX", "in/")
    assert command_line("sync", "--adopt", "--json").json["in_sync"] is True
    assert command_line.files() == {"in/a": b"1", "out/b": b"2"}
    assert [one["key"] for one in command_line("files", "--json").json["files"]] == ["in/a"]
    assert command_line("status", "--json").json["stats"]["objects"] == 1


def test_a_mirrored_prefix_gets_in_sync(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_PREFIX", "in/")
    command_line.bucket.put("in/a", b"1")
    command_line.bucket.put("out/b", b"2")
    assert command_line("sync", "--json").json["in_sync"] is True
    assert command_line.files() == {"in/a": b"1"}
    assert command_line("status").code == 0


def test_a_failed_key_is_named_and_the_rest_is_done(command_line: CommandLine) -> None:
    command_line.bucket.put("good", b"1")
    command_line.bucket.put(HOSTILE, b"2")
    command_line.bucket.script(HOSTILE, fail.status(403, times=50))
    ran = command_line("sync")
    assert ran.code == 1
    assert command_line.files() == {"good": b"1"}
    assert "failed: bad[red]\\x1b[31m\\x0a\\u202ekey: " in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert command_line("status").code == 1


def test_a_bucket_that_cannot_be_listed_fails_and_deletes_nothing(
    command_line: CommandLine,
) -> None:
    command_line.bucket.put("a", b"1")
    assert command_line("sync").code == 0
    command_line.bucket.script_list(fail.status(403))
    ran = command_line("sync")
    assert ran.code == 1
    assert "failed" in ran.out
    assert "hint:" in ran.err
    assert command_line.files() == {"a": b"1"}


def test_a_held_run_exits_with_2_and_is_applied_after_approval(
    command_line: CommandLine,
) -> None:
    for number in range(20):
        command_line.bucket.put(f"k{number:02}", b"x")
    assert command_line("sync").code == 0
    for number in range(15):
        command_line.bucket.delete(f"k{number:02}")
    held = command_line("sync")
    assert held.code == 2
    assert "Apply: datasync approve 2" in held.err
    assert len(command_line.files()) == 20
    assert command_line("status").code == 2
    shown = command_line("runs", "2")
    assert "would delete: k00" in shown.out
    assert command_line("runs", "2", "--json").json["planned_deletes"][0] == "k00"
    assert command_line("approve", "2").code == 0
    assert len(command_line.files()) == 5
    assert command_line("approve", "2").code == 2
    assert command_line("status").code == 0


def test_every_delete_of_a_held_run_can_be_seen(command_line: CommandLine) -> None:
    for number in range(70):
        command_line.bucket.put(f"k{number:02}", b"x")
    assert command_line("sync").code == 0
    for number in range(60):
        command_line.bucket.delete(f"k{number:02}")
    assert "Reject: datasync cancel 2" in command_line("sync").err
    part, whole = command_line("runs", "2"), command_line("runs", "2", "--limit", "60")
    assert part.out.count("would delete") == 50 and "60 deletes in all" in part.err
    assert whole.out.count("would delete") == 60 and whole.err == ""
    assert len(command_line("runs", "2", "--json").json["planned_deletes"]) == 60
    assert len(command_line("runs", "2", "--limit", "3", "--json").json["planned_deletes"]) == 3
    assert command_line("cancel", "2").code == 0
    assert "in all" not in command_line("runs", "2").err


def test_a_held_run_can_be_cancelled(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"x")
    assert command_line("sync").code == 0
    command_line.bucket.list_empty()
    assert command_line("sync").code == 2
    cancelled = command_line("cancel", "2").out
    assert cancelled == "Run 2 is cancelled. Its 1 delete will not be done.\n"
    again = command_line("cancel", "2")
    assert again.code == 2
    assert again.err.startswith("error: ")
    assert command_line.files() == {"a": b"x"}


def test_what_is_decided_of_a_run_is_told_as_json_too(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"x")
    assert command_line("sync").code == 0
    for run_id in (2, 3):
        command_line.bucket.list_empty()
        assert command_line("sync", "--json").json["status"] == "held", run_id
    refused = command_line("approve", "2", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert "run 2 is cancelled, not held: superseded by run 3" in refused.err
    assert command_line("retry", "a", "--json").json["status"] == "accepted"
    command_line.bucket.delete("a")
    applied = command_line("approve", "3", "--json").json
    assert (applied["run_id"], applied["status"]) == (3, "success")
    assert command_line.files() == {}


def test_a_queued_run_can_be_cancelled(command_line: CommandLine) -> None:
    parts = command_line.parts()
    try:
        parts.service.request_run(RunKind.RECONCILE, "")
    finally:
        parts.close()
    assert command_line("cancel", "1", "--json").json["status"] == "cancelled"


def test_of_many_failures_the_first_are_shown(command_line: CommandLine) -> None:
    for number in range(25):
        command_line.bucket.put(f"k{number:02}", b"x")
        command_line.bucket.script(f"k{number:02}", fail.status(403, times=50))
    ran = command_line("sync")
    assert ran.code == 1
    assert ran.out.count("failed: k") == 20
    assert "More: datasync failures" in ran.err
    shown = command_line("runs", "1")
    assert shown.out.count("failed download: k") == 20
    page = command_line("failures", "--limit", "10")
    assert len(page.out.splitlines()) == 10
    assert "There are more: the same command with --token " in page.err


def _with_a_failing_key(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object grew over the limit: the old file is kept, and a run has nothing to do."""
    monkeypatch.setenv("MAX_FILE_SIZE_MB", "1")
    command_line.bucket.put("in/grows", b"small")
    command_line.bucket.put("out/fine", b"fine")
    assert command_line("sync").code == 0
    command_line.bucket.put("in/grows", b"x" * (2**20 + 1))
    assert command_line("sync").code == 1


@pytest.mark.parametrize("command", ["sync", "verify"])
def test_a_clean_run_over_failing_keys_exits_with_1_and_says_why(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    _with_a_failing_key(command_line, monkeypatch)
    ran = command_line(command)
    assert ran.code == 1
    assert "- 1 key failed, see datasync failures" in ran.out.splitlines()
    assert "in sync" not in ran.out
    document = command_line(command, "--json")
    assert (document.code, document.json["status"]) == (1, "success")
    assert document.json["in_sync"] is False
    assert "1 key failed" in document.err


def test_failing_keys_outside_of_the_prefix_are_not_this_runs(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_a_failing_key(command_line, monkeypatch)
    assert command_line("sync", "--prefix", "out/").code == 0
    assert command_line("sync", "--prefix", "in/").code == 1


def test_a_plan_over_failing_keys_does_not_call_the_mirror_equal(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_a_failing_key(command_line, monkeypatch)
    assert "Nothing to download or delete; 1 key is failing" in command_line("plan").err
    assert command_line("plan", "--json").json["failing"] == 1
    assert "equal" in command_line("plan", "--prefix", "out/").err


# -- another process has the engine --------------------------------------------------------------


def test_sync_asks_the_process_that_holds_the_lease(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"1")
    other = command_line.parts()
    try:
        other.service.start()
        eventually(lambda: other.service.leading)
        ran = command_line("sync", "--json")
        assert ran.code == 0, ran.err
        assert "Another DataSync process serves this directory" in ran.err
        assert ran.json["status"] == "success"
        assert command_line.files() == {"a": b"1"}
    finally:
        other.service.stop()
        other.close()


def test_sync_takes_over_when_the_holder_of_the_lease_goes_away(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder never looks at the queue: the command asks it in vain, then does the work."""
    monkeypatch.setattr("datasync.cli.conductor.LEASE_RETRY_SECONDS", 0.1)
    command_line.bucket.put("a", b"1")
    other = command_line.parts()
    asked = threading.Event()
    request = other.ledger.run
    other.service._lease.acquire()

    def release() -> None:
        eventually(lambda: bool(other.ledger.runs(1)))
        asked.set()
        other.service._lease.release()

    thread = threading.Thread(target=release)
    thread.start()
    try:
        ran = command_line("sync")
        assert ran.code == 0, ran.err
        assert asked.is_set()
        assert request(1).status is RunStatus.SUCCESS
        assert command_line.files() == {"a": b"1"}
    finally:
        thread.join()
        other.close()


def test_ctrl_c_stops_watching_not_the_run(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, watching = threading.Event(), threading.Event()
    monkeypatch.setattr(Lines, "show", lambda _self, _run: watching.set())
    command_line.bucket.put("a", b"1")
    command_line.bucket.script_list(fail.pause_until(gate))
    other = command_line.parts()

    def interrupt() -> None:
        if watching.wait(10.0):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    try:
        other.service.start()
        eventually(lambda: other.service.leading)
        thread.start()
        ran = command_line("sync")
        assert ran.code == 130
        assert "goes on; stop it: datasync cancel 1" in ran.err
        gate.set()
        eventually(lambda: other.ledger.run(1).status is RunStatus.SUCCESS)
    finally:
        gate.set()
        thread.join()
        other.service.stop()
        other.close()


# -- Ctrl-C and SIGTERM --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_stops_a_sync_cleanly(
    command_line: CommandLine, number: signal.Signals, code: int
) -> None:
    command_line.bucket.stall_seconds = 300.0
    command_line.bucket.put("first", b"1")
    command_line.bucket.put("second", b"2" * 100)
    command_line.bucket.script("second", fail.stall(at=10))

    def interrupt() -> None:
        eventually(lambda: "first" in command_line.files())
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        ran = command_line("sync")
    finally:
        thread.join()
    assert ran.code == code
    assert "second" not in command_line.files()
    assert _staged(command_line.root) == []
    last = command_line("runs", "--json").json["runs"][0]
    assert last["status"] in ("cancelled", "interrupted")
    assert command_line("sync").code == 0
    assert command_line.files()["second"] == b"2" * 100


# -- plan ----------------------------------------------------------------------------------------


def test_plan_shows_everything_and_changes_nothing(command_line: CommandLine) -> None:
    command_line.bucket.put("kept", b"x")
    command_line.bucket.put("gone", b"x")
    assert command_line("sync").code == 0
    command_line.bucket.delete("gone")
    command_line.bucket.put("new", b"12345")
    before = command_line.files()
    ran = command_line("plan")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "delete\tgone\t1\tno longer in the bucket",
        "download\tnew\t5\tnew in the bucket",
    ]
    assert "1 download (5 B), 1 delete. Nothing was changed." in ran.err
    document = command_line("sync", "--dry-run", "--json").json
    assert (document["counts"]["delete"], document["failing"]) == (1, 0)
    assert command_line.files() == before
    assert len(command_line("runs", "--json").json["runs"]) == 1


def test_plan_says_when_a_sync_would_be_held(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"x")
    assert command_line("sync").code == 0
    command_line.bucket.list_empty(times=2)
    ran = command_line("plan")
    assert ran.code == 2
    assert "would be held" in ran.err
    assert "empty" in command_line("plan", "--json").json["held"]


# -- verify --------------------------------------------------------------------------------------


def test_verify_finds_and_repairs_a_rotten_file(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"right")
    command_line.bucket.put("b", b"fine")
    assert command_line("sync").code == 0
    path = command_line.root / "a"
    times = path.stat()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert command_line("sync").code == 0
    assert path.read_bytes() == b"wrong"  # same size and time: a stat cannot tell
    ran = command_line("verify")
    assert ran.code == 0, ran.err
    assert path.read_bytes() == b"right"
    assert ran.out.startswith("Verified 2 files: 1 as they should be, 1 repaired, 0 failed\n")
    assert command_line("runs", "--json").json["runs"][0]["kind"] == "verify"
    document = command_line("verify", "--json").json
    assert document["message"] == "Verified 2 files: 2 as they should be, 0 repaired, 0 failed"


# -- looking -------------------------------------------------------------------------------------


def test_status_before_and_after_the_first_sync(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"xyz")
    before = command_line("status")
    assert before.code == 1
    assert before.out.startswith("not in sync\n")
    assert command_line("sync").code == 0
    after = command_line("status")
    assert after.code == 0
    assert after.out.startswith("in sync: ")
    document = command_line("status", "--json").json
    assert document["in_sync"] is True
    assert document["stats"]["objects"] == 1
    assert document["stats"]["bytes"] == 3
    assert document["held_run"] is None


@pytest.mark.parametrize("periodic, said", [("true", "hours ago"), ("false", "too old to prove")])
def test_an_old_proof_is_none_and_status_says_why(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, periodic: str, said: str
) -> None:
    monkeypatch.setenv("ENABLE_PERIODIC_SYNC", periodic)
    assert command_line("sync").code == 0
    assert command_line("status").code == 0
    parts = command_line.parts()
    parts.ledger.finish_run(1, RunStatus.SUCCESS, time.time() - 3 * 3600)
    parts.close()
    ran = command_line("status")
    assert ran.code == 1
    assert ran.out.startswith("not in sync\n") and said in ran.out


def test_files_are_paged_and_filtered(command_line: CommandLine) -> None:
    for key in ("a", "b", "c/d", "cold"):
        command_line.bucket.put(key, b"x", storage_class="GLACIER" if key == "cold" else "STANDARD")
    assert command_line("sync").code == 0
    page = command_line("files", "--limit", "2", "--json").json
    assert [file["key"] for file in page["files"]] == ["a", "b"]
    rest = command_line("files", "--token", page["next_token"])
    assert [line.split("\t")[0] for line in rest.out.splitlines()] == ["c/d", "cold"]
    cold = command_line("files", "--state", "archived", "--json").json
    assert [(file["key"], file["state"]) for file in cold["files"]] == [("cold", "archived")]
    more = command_line("files", "--state", "synced", "--limit", "1")
    assert more.out.split("\t")[0] == "a"
    assert "--token" in more.err
    assert command_line("files", "--prefix", "c/").out.startswith("c/d\t1\t")
    assert command_line("files", "--token", "nonsense").code == 2


def test_files_of_the_bucket_itself(command_line: CommandLine) -> None:
    command_line.bucket.put("here", b"x")
    assert command_line("sync").code == 0
    command_line.bucket.put("new", b"xy")
    document = command_line("files", "--s3", "--json").json
    assert document["source"] == "s3"
    states = {file["key"]: file["state"] for file in document["files"]}
    assert states == {"here": "synced", "new": None}
    assert command_line("files", "--s3", "--state", "synced").code == 64


def test_failures_are_listed_and_tried_again(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"x")
    command_line.bucket.script("a", fail.status(403, times=50))
    assert command_line("failures").code == 0
    assert command_line("sync").code == 1
    failures = command_line("failures")
    assert failures.code == 1
    assert failures.out.startswith("a\t")
    assert command_line("failures", "--json").json["failures"][0]["key"] == "a"
    command_line.bucket.put("a", b"y")
    command_line.bucket._scripts.clear()
    assert command_line("retry", "a").out == "Queued 1 key to try again\n"
    assert command_line("sync").code == 0
    assert command_line("failures").code == 0
    assert command_line.files() == {"a": b"y"}


def test_failures_tell_what_is_left_out_on_purpose(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line.bucket.put("a", b"x")
    command_line.bucket.put("cold", b"x", storage_class="GLACIER")
    assert command_line("sync").code == 0
    ran = command_line("failures")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines() == [
        "No failures.",
        "Not mirrored, and no failure: 1 archived. List: datasync files --state archived",
    ]
    assert command_line("failures", "--json").err == ""
    assert command_line("failures", "--prefix", "a").err == "No failures.\n"
    command_line.bucket.put("long", b"x" * (2**20 + 1))
    monkeypatch.setenv("MAX_FILE_SIZE_MB", "1")
    assert command_line("sync").code == 0
    assert command_line("failures").err.splitlines()[-1] == (
        "Not mirrored, and no failure: 1 archived, 1 oversize."
        " List: datasync files --state archived --state oversize"
    )


def test_runs_are_listed_newest_first(command_line: CommandLine) -> None:
    assert command_line("sync").code == 0
    assert command_line("verify").code == 0
    lines = command_line("runs").out.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [
        ["2", "verify", "success"],
        ["1", "reconcile", "success"],
    ]
    assert command_line("runs", "--limit", "1", "--json").json["runs"][0]["id"] == 2
    missing = command_line("runs", "99")
    assert missing.code == 2
    assert missing.err.splitlines() == [
        "error: there is no run 99",
        "hint:  List the runs with datasync runs.",
    ]


# -- trash ---------------------------------------------------------------------------------------


def test_what_was_deleted_can_be_listed_and_restored(command_line: CommandLine) -> None:
    command_line.bucket.put("keep", b"x")
    command_line.bucket.put("dir/gone", b"y")
    assert command_line("sync").code == 0
    command_line.bucket.delete("dir/gone")
    assert command_line("trash", "list").out == ""
    assert command_line("sync").code == 0
    assert "dir/gone" not in command_line.files()
    entry = command_line("trash", "list", "--json").json["entries"][0]
    assert (entry["path"], entry["size"]) == ("dir/gone", 1)
    assert command_line("trash", "list").out.startswith(entry["id"] + "\t1\t")
    ran = command_line("trash", "restore", entry["id"])
    assert (ran.code, ran.out) == (0, "restored dir/gone\n")
    assert command_line.files()["dir/gone"] == b"y"
    assert command_line("sync").code == 0
    assert command_line.files()["dir/gone"] == b"y"  # no longer ours to delete
    again = command_line("trash", "restore", entry["id"])
    assert again.code == 1
    assert "not in the trash" in again.err


def test_a_long_trash_is_listed_in_part(command_line: CommandLine) -> None:
    for key in ("a", "b", "c", "keep"):
        command_line.bucket.put(key, b"x")
    assert command_line("sync").code == 0
    for key in ("a", "b", "c"):
        command_line.bucket.delete(key)
    assert command_line("sync").code == 0
    part = command_line("trash", "list", "--limit", "2")
    assert len(part.out.splitlines()) == 2
    assert "There are more" in part.err
    assert command_line("trash", "list", "--limit", "2", "--json").json["complete"] is False
    assert "Nothing in the trash" in command_line("trash", "list", "--prefix", "z").err
    assert "Nothing in the trash" in command_line("trash", "restore", "--prefix", "z").err
    restored = command_line("trash", "restore", "--prefix", "b", "--json").json["restored"]
    assert [(item["path"], item["error"]) for item in restored] == [("b", None)]


def test_restore_overwrites_only_when_asked(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"old")
    command_line.bucket.put("b", b"b")
    assert command_line("sync").code == 0
    command_line.bucket.delete("a")
    assert command_line("sync").code == 0
    (command_line.root / "a").write_bytes(b"mine")
    refused = command_line("trash", "restore", "--prefix", "a").err
    assert "error: " in refused and "--overwrite" in refused
    kept = command_line("trash", "restore", "--prefix", "a", "--json")
    assert kept.code == 1
    assert kept.json["restored"][0]["error"]
    assert command_line.files()["a"] == b"mine"
    assert command_line("trash", "restore", "--prefix", "a", "--overwrite").code == 0
    assert command_line.files()["a"] == b"old"


# -- refusals and settings -----------------------------------------------------------------------


def test_another_buckets_directory_is_refused_and_can_be_adopted(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    command_line.bucket.put("a", b"1")
    assert command_line("sync").code == 0
    monkeypatch.setenv("S3_BUCKET_NAME", "another-bucket")
    refused = command_line("sync")
    assert refused.code == 2
    assert "--adopt" in refused.err
    command_line.bucket.put("b", b"other")
    command_line.bucket.delete("a")
    compose(load_settings(), adopt=True, make_bucket=lambda _: command_line.bucket).close()
    assert command_line("status").code == 1  # what was proved is of the other bucket
    assert command_line("sync", "--adopt").code == 0
    assert command_line("status").code == 0
    assert command_line.files() == {"b": b"other"}


def test_a_variable_that_is_nearly_ours_is_warned_of(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_PREFIXES", "typo")
    ran = command_line("status", "--json")
    assert "warning: S3_PREFIXES is not a setting" in ran.err
    assert ran.json["in_sync"] is False


def test_bad_settings_are_refused_in_lines_that_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_settings(monkeypatch, tmp_path, API_PORT="99999", S3_BUCKET_NAME="")
    assert run_command(["sync"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "API_PORT" in captured.err
    assert "S3_BUCKET_NAME" in captured.err
    assert "Traceback" not in captured.err


def test_a_fault_of_ours_is_a_line_here_and_a_traceback_in_the_log(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("datasync.services.s3_sync_service.S3SyncService.plan", broken)
    ran = command_line("plan")
    assert ran.code == 1
    assert ran.err.splitlines()[0] == "error: internal error: ZeroDivisionError: oops"
    assert "Traceback" not in ran.err
    assert "Traceback" in (tmp_path / "datasync.log").read_text()


def test_a_fault_that_no_log_takes_is_told_whole(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops, and sEcReT/0123456789")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sEcReT/0123456789")
    monkeypatch.setattr("datasync.cli.log_commands.Follower", broken)
    ran = command_line("logs")
    assert ran.code == 1
    assert "Traceback" in ran.err and "LOG_FILE" not in ran.err
    assert "sEcReT" not in ran.err
    assert "error: internal error: ZeroDivisionError" in ran.err


def test_the_engines_lines_go_to_the_log_file_not_to_the_terminal(
    command_line: CommandLine, tmp_path: Path
) -> None:
    command_line.bucket.put("a", b"1")
    command_line.bucket.put("bad", b"1")
    command_line.bucket.script("bad", fail.status(403, times=50))
    ran = command_line("sync")
    assert ran.code == 1
    assert ran.err == ""
    log = (tmp_path / "datasync.log").read_text()
    assert "WARNING  outcome" in log and "WARNING  run ended" in log


def test_files_in_the_mirror_have_the_modes_of_the_umask(command_line: CommandLine) -> None:
    command_line.bucket.put("a", b"1")
    previous = os.umask(0o027)
    try:
        assert command_line("sync").code == 0
    finally:
        os.umask(previous)
    assert stat.S_IMODE((command_line.root / "a").stat().st_mode) == 0o640


def test_a_verify_is_a_run_of_its_own_kind_and_speaks_of_what_it_did(
    command_line: CommandLine,
) -> None:
    ran = command_line("verify")
    assert ran.code == 0
    assert ran.out.startswith("Verified 0 files: 0 as they should be, 0 repaired, 0 failed\n")
    parts = command_line.parts()
    try:
        assert parts.ledger.run(1).kind is RunKind.VERIFY
    finally:
        parts.close()


def _staged(root: Path) -> list[Path]:
    staging = root / ".datasync" / "staging"
    return [path for path in staging.rglob("*") if path.suffix != ".owner"]
