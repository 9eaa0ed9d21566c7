"""The disk calls, and what stands in for them where the system lacks one."""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.utils import file_utils
from datasync.utils.file_utils import DiskCalls, is_unsupported


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["native", "lacking"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As it is, and as on a system whose C library has none of the calls."""
    if request.param == "lacking":
        monkeypatch.setattr(file_utils, "_libc_function", lambda name: None)
    return str(request.param)


def test_renaming_to_a_free_name_only(folder: int, tmp_path: Path, system: str) -> None:
    with pytest.raises(FileExistsError):
        DiskCalls().rename_new(b"a", folder, b"b", folder)
    DiskCalls().rename_new(b"a", folder, b"c", folder)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b": b"b", "c": b"a"}
    with pytest.raises(FileNotFoundError):
        DiskCalls().rename_new(b"a", folder, b"d", folder)


def test_exchanging_or_saying_that_it_cannot_be_done(
    folder: int, tmp_path: Path, system: str
) -> None:
    if system == "native":
        DiskCalls().exchange(b"a", folder, b"b", folder)
        assert (tmp_path / "a").read_bytes() == b"b"
        with pytest.raises(FileNotFoundError):
            DiskCalls().exchange(b"a", folder, b"none", folder)
    else:
        with pytest.raises(OSError) as raised:
            DiskCalls().exchange(b"a", folder, b"b", folder)
        assert is_unsupported(raised.value)


def test_syncing_the_file_system(folder: int, system: str) -> None:
    assert DiskCalls().sync_file_system(folder) is (system == "native")
    DiskCalls().sync(folder)


def test_errors_of_syncing_are_not_hidden() -> None:
    with pytest.raises(OSError) as raised:
        DiskCalls().sync_file_system(-1)
    assert raised.value.errno == errno.EBADF


def test_writing_out_promises_nothing(folder: int, system: str, tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        file.write(b"12345")
        DiskCalls().write_out(file.fileno(), 0, 5)
    DiskCalls().write_out(-1, 0, 5)  # what went wrong, `sync` tells


def test_writing_out_a_part_beyond_four_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[object, ...]]()
    monkeypatch.setattr(file_utils, "_call", lambda *call: seen.append(call))
    DiskCalls().write_out(7, 5 * 2**30, 16)
    ((name, descriptor, offset, nbytes, flags),) = seen
    assert (name, descriptor, flags) == ("sync_file_range", 7, 2)
    assert isinstance(offset, ctypes.c_int64) and isinstance(nbytes, ctypes.c_int64)
    assert (offset.value, nbytes.value) == (5 * 2**30, 16)


def test_a_full_sync_where_the_system_has_one(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[object, ...]]()
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda *call: seen.append(call))
    DiskCalls().sync(folder)
    assert seen == [(folder, 51)]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    with open(tmp_path / "x", "wb") as file:
        DiskCalls().write_at(file.fileno(), b"0123456789", 2)
    assert (tmp_path / "x").read_bytes() == b"\0\0" + b"0123456789"


def test_a_second_name_for_a_link_is_not_for_its_target(folder: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a")
    DiskCalls().link(b"link", folder, b"second", folder)
    assert os.readlink(tmp_path / "second") == "a"
