"""`datasync trash`: a file, a prefix, a whole run, and what the next run does to them."""

import pytest

from tests.support.command_line import CommandLine

ODD = ("a\nb", "tab\t", "-dash", "ü/日本 🚀", "a//b", "../up", "x" * 300, "%FF", "dir/\x1b[31m")


def synced(command_line: CommandLine, *keys: str) -> None:
    for key in keys:
        command_line.bucket.put(key, key.encode())
    assert command_line("sync").code == 0


def deleted(command_line: CommandLine, *keys: str) -> int:
    """Delete objects and their files with a run; its number."""
    for key in keys:
        command_line.bucket.delete(key)
    run: int = command_line("sync", "--json").json["run_id"]
    return run


def test_a_whole_run_is_undone_and_nothing_else(command_line: CommandLine) -> None:
    synced(command_line, "keep", "a/1", "a/2", "b")
    deleted(command_line, "b")
    run = deleted(command_line, "a/1", "a/2")
    ran = command_line("trash", "restore", "--run", str(run))
    assert (ran.code, ran.out) == (0, "restored a/1\nrestored a/2\n")
    assert "2 files: no run touches" in ran.err
    assert sorted(command_line.files()) == ["a/1", "a/2", "keep"]


def test_of_a_run_a_prefix_is_chosen(command_line: CommandLine) -> None:
    synced(command_line, "keep", "a/1", "b/1")
    run = deleted(command_line, "a/1", "b/1")
    assert command_line("trash", "restore", "--run", str(run), "--prefix", "a/").code == 0
    assert sorted(command_line.files()) == ["a/1", "keep"]


def test_a_run_of_a_lost_ledger_is_not_taken_for_one_of_the_same_number(
    command_line: CommandLine,
) -> None:
    synced(command_line, "keep", "mine", "old")
    run = deleted(command_line, "mine")
    [folder] = (command_line.root / ".datasync/trash").iterdir()
    older = folder.with_name(f"20200101T000000Z-run-{run}")
    older.mkdir()
    (older / "old").write_bytes(b"of another run")
    chosen = command_line("trash", "restore", "--run", str(run), "--json").json["restored"]
    assert [item["path"] for item in chosen] == ["mine"]
    unknown = deleted(command_line, "old") + 7
    older.rename(older.with_name(f"20200101T000000Z-run-{unknown}"))
    assert "restored old" in command_line("trash", "restore", "--run", str(unknown)).out


def test_why_chooses_what_events_took(command_line: CommandLine) -> None:
    synced(command_line, "keep", "event", "run")
    command_line.bucket.delete("event")
    command_line("retry", "event")
    command_line("sync", "--prefix", "keep")  # looks at the marked key, deletes nothing itself
    run = deleted(command_line, "run")
    listed = command_line("trash", "list", "--why", f"run-{run}", "--json").json["entries"]
    assert [entry["path"] for entry in listed] == ["run"]
    assert command_line("trash", "restore", "--why", "events").out == "restored event\n"
    assert "Nothing in the trash" in command_line("trash", "restore", "--why", "events").err


def test_an_empty_prefix_is_everything(command_line: CommandLine) -> None:
    synced(command_line, "keep", "a", "b")
    deleted(command_line, "a", "b")
    assert command_line("trash", "restore", "--prefix", "").code == 0
    assert sorted(command_line.files()) == ["a", "b", "keep"]


def test_what_no_object_is_called_stays_whatever_runs(command_line: CommandLine) -> None:
    synced(command_line, "keep", "a")
    run = deleted(command_line, "a")
    [restored] = command_line("trash", "restore", "--run", str(run), "--json").json["restored"]
    assert restored["stays"] is True
    for _ in range(2):
        assert command_line("sync").code == 0
        assert command_line.files()["a"] == b"a"
    command_line.bucket.put("a", b"a")  # in the bucket again: ours again, without a download
    before = command_line.bucket.counts["get"]
    assert command_line("sync").code == 0
    assert command_line.bucket.counts["get"] == before


def test_what_an_object_is_called_goes_back_with_the_next_run_and_that_is_said(
    command_line: CommandLine,
) -> None:
    synced(command_line, "keep", "a")
    run = deleted(command_line, "a")
    command_line.bucket.put("a", b"a new version")
    assert command_line("sync").code == 0
    ran = command_line("trash", "restore", "--run", str(run), "--overwrite")
    assert (ran.code, command_line.files()["a"]) == (0, b"a")
    assert "1 file: the bucket has an object of that name" in ran.err
    assert "no run touches" not in ran.err
    assert command_line("sync").code == 0
    assert command_line.files()["a"] == b"a new version"
    trash = command_line.root / ".datasync/trash"
    entries = command_line("trash", "list", "--why", "replaced", "--json").json["entries"]
    contents = {(trash / entry["id"]).read_bytes() for entry in entries}
    assert contents == {b"a", b"a new version"}  # and can be had once more


def test_odd_names_go_there_and_come_back(command_line: CommandLine) -> None:
    synced(command_line, "keep", *ODD)
    before = command_line.files()
    deleted(command_line, *ODD)
    assert sorted(command_line.files()) == ["keep"]
    entries = command_line("trash", "list", "--json").json["entries"]
    assert len(entries) == len(ODD)
    shown = command_line("trash", "list").out
    assert len(shown.splitlines()) == len(ODD) and "\x1b" not in shown
    for entry in entries:
        assert command_line("trash", "restore", "--", entry["id"]).code == 0
    assert command_line.files() == before


@pytest.mark.parametrize("why", ["../..", "events/../..", "*", ""])
def test_a_why_is_compared_and_nothing_more(command_line: CommandLine, why: str) -> None:
    synced(command_line, "keep", "a")
    deleted(command_line, "a")
    assert command_line("trash", "restore", "--why", why).code == 0
    assert sorted(command_line.files()) == ["keep"]
