"""The doctor on real folders: what it finds of them, and that it leaves them as they were."""

import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from datasync.doctor import abilities, disk_checks
from datasync.doctor.disk_checks import DiskChecks
from datasync.doctor.findings import Finding, Level
from datasync.doctor.probe import ABANDONED_SECONDS
from datasync.doctor.rounds import looked
from datasync.errors import Interrupted
from datasync.services.storage.mirror import Mirror
from datasync.utils.file_utils import DiskCalls
from tests.support.disk import RecordingCalls
from tests.support.doctor import Patient, settings_of

ALL: dict[str, Callable[[DiskChecks], Finding]] = {
    "directory": DiskChecks.directory,
    "mirror": DiskChecks.marker,
    "space": DiskChecks.space,
    "inodes": DiskChecks.inodes,
    "one disk": DiskChecks.one_disk,
    "rename": DiskChecks.renaming,
    "flush": DiskChecks.flushing,
    "locks": DiskChecks.locking,
    "names": DiskChecks.names,
    "letter case": DiskChecks.letter_case,
    "file times": DiskChecks.times,
}
COUNTED = {"space", "inodes"}  # depend on the disk that the tests run on


def examine(patient: Patient, calls: DiskCalls | None = None) -> dict[str, Finding]:
    checks = patient.checks(calls)
    return {name: looked(partial(look, checks)) for name, look in ALL.items()}


# -- the directory -------------------------------------------------------------------------------


def test_a_new_directory_is_fine_and_is_not_made(patient: Patient, tmp_path: Path) -> None:
    found = examine(patient)
    assert {n: f for n, f in found.items() if f.level is not Level.PASS and n not in COUNTED} == {}
    assert "does not exist yet" in found["directory"].found
    assert patient.probe.close()
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_is_fine_and_stays_as_it_was(patient: Patient) -> None:
    patient.prepare()
    (patient.root / "a").write_bytes(b"1")
    before = patient.below()
    found = examine(patient)
    assert {n: f for n, f in found.items() if f.level is not Level.PASS and n not in COUNTED} == {}
    assert "it is the mirror of aws s3://my-bucket/" in found["mirror"].found
    assert patient.probe.close()
    assert patient.below() == before


def test_a_directory_that_is_a_file(patient: Patient) -> None:
    patient.root.parent.mkdir()
    patient.root.write_text("not a folder")
    found = examine(patient)
    assert found["directory"].level is Level.FAIL
    assert "cannot be made: File exists" in found["directory"].found
    patient.probe.close()
    assert patient.root.read_text() == "not a folder"


def test_a_file_in_the_way_of_our_own_folder(patient: Patient) -> None:
    """Stands for a directory that cannot be written to, which root does not know."""
    patient.root.mkdir(parents=True)
    (patient.root / ".datasync").write_text("in the way")
    finding = examine(patient)["directory"]
    assert finding.level is Level.FAIL
    assert "'.datasync' is a file where a folder is needed" in finding.found
    assert "in the way" in finding.advice
    patient.probe.close()
    assert patient.below() == [".datasync"]


def test_a_link_in_place_of_our_own_folder_is_not_followed(
    patient: Patient, tmp_path: Path
) -> None:
    patient.root.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (patient.root / ".datasync").symlink_to(tmp_path / "elsewhere")
    assert examine(patient)["directory"].level is Level.FAIL
    patient.probe.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_mirror_of_another_bucket(patient: Patient) -> None:
    with Mirror(patient.root) as mirror:
        mirror.prepare(bucket_identity="aws s3://other-bucket/")
    before = (patient.root / ".datasync/mirror.json").read_bytes()
    finding = examine(patient)["mirror"]
    assert finding.level is Level.FAIL
    assert "the mirror of aws s3://other-bucket/, not of aws s3://my-bucket/" in finding.found
    assert "--adopt" in finding.advice
    assert (patient.root / ".datasync/mirror.json").read_bytes() == before


def test_a_marker_that_cannot_be_read(patient: Patient) -> None:
    patient.prepare()
    (patient.root / ".datasync/mirror.json").write_text("{")
    finding = examine(patient)["mirror"]
    assert finding.level is Level.FAIL
    assert "cannot be read" in finding.found


# -- the file system -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, check",
    [("replace", "rename"), ("rename_new", "rename"), ("sync file", "flush")],
)
def test_what_the_disk_refuses_is_told_and_hides_nothing(
    patient: Patient, call: str, check: str
) -> None:
    calls = RecordingCalls()
    calls.fail(call, errno.EIO)
    found = examine(patient, calls)
    assert found[check].level is Level.FAIL
    assert os.strerror(errno.EIO) in found[check].found
    others = {name for name, finding in found.items() if finding.level is Level.FAIL} - COUNTED
    assert others == {check}


def test_a_system_that_cannot_swap_names_is_fine(patient: Patient) -> None:
    finding = examine(patient, RecordingCalls().without("exchange"))["rename"]
    assert finding.level is Level.PASS
    assert "cannot swap names" in finding.found


class CarelessCalls(DiskCalls):
    """A file system whose renames copy into the file that readers have open."""

    def replace(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        target = os.open(name, os.O_WRONLY, dir_fd=folder)
        os.write(target, b"new")
        os.close(target)
        os.unlink(source, dir_fd=source_folder)


class OverwritingCalls(DiskCalls):
    """A file system that replaces where it was told not to."""

    def rename_new(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        self.replace(source, source_folder, name, folder)


@pytest.mark.parametrize("calls", [CarelessCalls(), OverwritingCalls()])
def test_renames_that_are_not_what_they_should_be(patient: Patient, calls: DiskCalls) -> None:
    finding = examine(patient, calls)["rename"]
    assert finding.level is Level.FAIL
    assert "ext4" in finding.advice


def test_nothing_is_flushed_where_durability_is_off(patient: Patient) -> None:
    patient.settings = settings_of(patient.root, durability="none")
    calls = RecordingCalls()
    assert examine(patient, calls)["flush"].level is Level.SKIP
    assert [call for call in calls.calls if call.startswith("sync")] == []


@pytest.mark.parametrize(
    "name, answer, check, words",
    [
        ("lock", lambda _folder: False, "locks", "keep nobody out"),
        ("unstorable_names", lambda _folder: ["255 bytes"], "names", "not kept: 255 bytes"),
        ("takes_any_bytes", lambda _folder: False, "names", "but only UTF-8"),
        ("tells_case", lambda _folder: False, "letter case", "'%FF=...'"),
        ("keep_time", lambda _folder: 0, "file times", "unnoticed"),
        ("write_and_read", lambda _folder: False, "directory", "does not come back"),
    ],
)
def test_what_a_poor_file_system_would_be_told(
    patient: Patient,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    answer: Callable[[int], object],
    check: str,
    words: str,
) -> None:
    """Replaced one at a time: the tests have no such file system to mount."""
    monkeypatch.setattr(abilities, name, answer)
    assert words in examine(patient)[check].found


def test_our_folder_on_another_mount(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_checks, "on_one_mount", lambda *_: False)
    assert "another file system" in examine(patient)["one disk"].found


def test_names_that_are_too_long_or_refused_are_noticed(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_long = (b"n" * 256,)
    monkeypatch.setattr(abilities, "NAMES", {"256 bytes": too_long, "good": (b"good",)})
    patient.probe.open()
    with patient.probe.use() as folder:
        assert abilities.unstorable_names(folder) == ["256 bytes"]


def test_no_named_pipe_is_a_warning(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mkfifo", refused)
    finding = examine(patient)["locks"]
    assert finding.level is Level.WARN
    assert "no named pipe" in finding.found


# -- the probe folder ----------------------------------------------------------------------------


def test_what_others_put_there_meanwhile_is_kept(patient: Patient) -> None:
    patient.probe.open()
    patient.prepare()  # a service starts while the doctor looks
    assert patient.probe.close()
    assert patient.below() == [
        ".datasync",
        ".datasync/mirror.json",
        ".datasync/staging",
        ".datasync/trash",
    ]


def test_a_closed_probe_takes_nobody(patient: Patient) -> None:
    patient.probe.open()
    patient.probe.close()
    with pytest.raises(Interrupted), patient.probe.use():
        raise AssertionError
    with pytest.raises(Interrupted):
        patient.probe.open()
    assert not patient.root.exists()


def test_closing_waits_for_its_users_but_not_for_ever(patient: Patient) -> None:
    patient.probe.open()
    used = patient.probe.use()
    used.__enter__()
    assert not patient.probe.close(0.05)
    assert patient.root.exists()
    closing = threading.Thread(target=patient.probe.close, args=(30.0,))
    closing.start()
    used.__exit__(None, None, None)
    closing.join(30)
    assert not patient.root.exists()


def test_what_a_killed_doctor_left_is_removed_later(patient: Patient) -> None:
    patient.prepare()
    internal = patient.root / ".datasync"
    old, new = internal / f"doctor-{'a' * 16}", internal / f"doctor-{'b' * 16}"
    for folder in (old, new, internal / "doctor-notes"):
        folder.mkdir()
        (folder / "left").touch()
        os.utime(folder, (0, 0))
    os.utime(new)
    assert ABANDONED_SECONDS > 60
    patient.probe.open()
    assert not old.exists()
    assert (new / "left").exists()
    assert (internal / "doctor-notes" / "left").exists()
