"""Staged files: writing, reading back, discarding, and what a crash leaves."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasync.errors import DiskFull, MirrorError, MirrorUnavailable
from datasync.services.storage.mirror import Mirror, Publication, Published
from tests.support.disk import MTIME, RecordingCalls, open_below, put, staged_names, tree

STAGES_AND_WAITS = """
import sys
from pathlib import Path
from datasync.services.storage.mirror import Mirror

mirror = Mirror(Path(sys.argv[1]))
mirror.prepare(bucket_identity="s3://bucket at https://s3.example")
files = [mirror.stage() for _ in range(3)]
files[0].write(b"partial")
print("staged", flush=True)
sys.stdin.read()
"""


def test_writing_and_reading_back(mirror: Mirror, root: Path) -> None:
    with mirror.stage() as staged:
        staged.write(b"abc")
        staged.write(memoryview(b"def"))
        staged.write_at(8, bytearray(b"ij"))
        staged.write_at(1, b"B")
        assert staged.size == 10
        assert staged.read_at(0, 100) == b"aBcdef\0\0ij"
        assert staged.read_at(8, 1) == b"i"
        assert staged.read_at(10, 5) == b""
        staged.seal()
        staged.write(b"k")
        assert staged.read_at(8, 9) == b"ijk"
        assert isinstance(mirror.publish([Publication("x", staged, MTIME)])[0], Published)
    assert tree(root) == {"x": b"aBcdef\0\0ijk"}


def test_discarding_twice_and_after_publishing(mirror: Mirror, root: Path) -> None:
    staged = mirror.stage()
    staged.discard()
    staged.discard()
    assert staged_names(root) == []
    for use in (lambda: staged.write(b"x"), lambda: staged.read_at(0, 1), staged.sync):
        with pytest.raises(MirrorError):
            use()
    with mirror.stage(1) as published:
        published.write(b"1")
        mirror.publish([Publication("a", published, MTIME)])
    published.discard()
    assert tree(root) == {"a": b"1"}
    again = mirror.publish([Publication("b", published, MTIME), Publication("c", staged, MTIME)])
    assert all(isinstance(result, MirrorError) for result in again)


def test_descriptors_are_open_only_while_they_are_needed(mirror: Mirror, root: Path) -> None:
    mirror.stage().discard()  # the staging folder and its lock are open from here on
    before = open_below(root)
    known = [mirror.stage(2) for _ in range(20)]
    for staged in known:
        staged.write(b"ab")
    empty = [mirror.stage(0) for _ in range(5)]
    unknown = [mirror.stage() for _ in range(5)]
    assert open_below(root) == before + 5
    for staged in unknown:
        staged.write(b"x")
        staged.seal()
    assert open_below(root) == before
    assert known[3].read_at(0, 2) == b"ab"
    batch = [
        Publication(str(number), staged, MTIME)
        for number, staged in enumerate(known + empty + unknown)
    ]
    assert all(isinstance(result, Published) for result in mirror.publish(batch))
    assert open_below(root) == before
    mirror.close()
    assert open_below(root) == 0


def test_several_threads_may_use_one_file(mirror: Mirror, root: Path) -> None:
    chunk, chunks = 65_536, 64
    with mirror.stage(chunk * chunks) as staged, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: staged.write_at(n * chunk, bytes([n]) * chunk), range(chunks)))
        read = pool.map(lambda n: staged.read_at(n * chunk, chunk), range(chunks))
        assert list(read) == [bytes([n]) * chunk for n in range(chunks)]
        assert staged.size == chunk * chunks


def test_discarding_while_others_still_read(mirror: Mirror, root: Path) -> None:
    staged = mirror.stage()
    staged.write(b"x" * 100_000)
    started, problems = threading.Event(), list[str]()

    def read() -> None:
        try:
            while True:
                if staged.read_at(0, 100_000) != b"x" * 100_000:
                    problems.append("other bytes")
                started.set()
        except MirrorError as error:
            problems.append(str(error))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        assert started.wait(10)
        staged.discard()
        reader.result(10)
    assert problems == ["the staged file is published or discarded already"]
    assert staged_names(root) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EROFS, MirrorUnavailable),
        (errno.EIO, MirrorError),
        (errno.EMFILE, MirrorError),
    ],
)
def test_the_disks_refusals_are_translated(
    mirror: Mirror, calls: RecordingCalls, root: Path, number: int, error: type[MirrorError]
) -> None:
    calls.fail("write_at", number)
    with mirror.stage() as staged, pytest.raises(error) as raised:
        staged.write(b"x")
    assert os.strerror(number) in str(raised.value) and str(root) not in str(raised.value)
    calls.fail("write_at", number)
    if error is DiskFull:  # there, and of use for all that needs no room
        assert isinstance(mirror.check(), DiskFull)
    else:
        with pytest.raises(error):
            mirror.check()
    assert staged_names(root) == []


@pytest.mark.parametrize("call", ["rename_new", "replace", "exchange"])
def test_a_rename_that_fails_leaves_everything_as_it_was(
    mirror: Mirror, calls: RecordingCalls, root: Path, call: str
) -> None:
    held = put(mirror, "a", b"old").file
    keys = {"rename_new": "new", "replace": "a", "exchange": "a"}
    calls.fail(call, errno.ENOSPC)
    with mirror.stage() as staged:
        staged.write(b"new")
        known = held if call == "replace" else None
        item = Publication(keys[call], staged, MTIME, known)
        [failed] = mirror.publish([item])
        assert isinstance(failed, DiskFull)
        assert tree(root) == {"a": b"old"}
        assert len(staged_names(root)) == 1
        assert isinstance(mirror.publish([item])[0], Published)


def test_a_staged_file_that_was_cut_is_not_published(mirror: Mirror, root: Path) -> None:
    with mirror.stage() as staged:
        staged.write(b"whole")
        os.truncate(root / ".datasync/staging" / os.fsdecode(staged.name), 2)
        [result] = mirror.publish([Publication("a", staged, MTIME)])
        assert isinstance(result, MirrorError) and "not the one" in str(result)
    assert tree(root) == {}


def test_a_staging_folder_that_was_emptied_or_replaced(mirror: Mirror, root: Path) -> None:
    lost = mirror.stage(1)
    lost.write(b"1")
    staging = root / ".datasync/staging"
    for name in os.listdir(staging):
        (staging / name).unlink()
    staging.rmdir()
    put(mirror, "a", b"2")
    [result] = mirror.publish([Publication("b", lost, MTIME)])
    assert isinstance(result, MirrorError) and "gone" in str(result)
    with pytest.raises(MirrorError):
        lost.read_at(0, 1)
    lost.discard()
    assert tree(root) == {"a": b"2"}


def test_only_what_no_live_process_owns_is_swept(mirror: Mirror, root: Path) -> None:
    ours = mirror.stage()
    other = Mirror(root)
    other.prepare(bucket_identity="s3://bucket at https://s3.example")
    theirs = other.stage()
    (root / ".datasync/staging/leftover").write_bytes(b"of another age")
    (root / ".datasync/staging/folder").mkdir()
    assert mirror.sweep() == 1
    assert mirror.sweep() == 0
    assert other.sweep() == 0
    for staged in (ours, theirs):
        staged.write(b"still here")
        staged.discard()
    other.close()
    assert staged_names(root) == ["folder"]


def test_what_a_killed_process_staged_is_swept(mirror: Mirror, root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STAGES_AND_WAITS, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"staged\n"
        assert mirror.sweep() == 0
        process.kill()
    assert len(staged_names(root)) == 3
    assert mirror.sweep() == 3
    assert os.listdir(root / ".datasync/staging") == []
    assert tree(root) == {}


def test_a_process_that_ends_well_leaves_no_lock(mirror: Mirror, root: Path) -> None:
    code = STAGES_AND_WAITS.replace("sys.stdin.read()", "[file.discard() for file in files]")
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)
    assert os.listdir(root / ".datasync/staging") == []


def test_a_forked_child_owns_its_own_files(mirror: Mirror, root: Path) -> None:
    """gunicorn forks: the child's end must not take the parent's lock with it."""
    code = """
import os, sys
from pathlib import Path
from datasync.services.storage.mirror import Mirror

root = Path(sys.argv[1])
mirror = Mirror(root)
mirror.prepare(bucket_identity="s3://bucket at https://s3.example")
staged = mirror.stage()
if (child := os.fork()) == 0:
    mirror.stage().discard()
    mirror.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
other = Mirror(root)
other.prepare(bucket_identity="s3://bucket at https://s3.example")
assert other.sweep() == 0
staged.write(b"still here")
staged.discard()
"""
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
    assert os.listdir(root / ".datasync/staging") == []


def test_becoming_an_owner_while_others_sweep(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that a sweep took for a dead one's protects nothing: another one is made."""
    real, swept = fcntl.flock, list[str]()

    def sweep_first(descriptor: int, operation: int) -> None:
        if not swept:
            [owner] = (root / ".datasync/staging").iterdir()
            swept.append(owner.name)
            owner.unlink()
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with mirror.stage() as staged:
        owners = [path.name for path in (root / ".datasync/staging").glob("*.owner")]
        assert len(owners) == 1 and owners != swept
        assert os.fsdecode(staged.name).startswith(owners[0].removesuffix(".owner"))


def test_a_disk_without_locks_is_said_so(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".datasync/staging/dead.owner").touch()

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = open_below(root)
    for use in (mirror.stage, mirror.sweep):
        with pytest.raises(MirrorError, match=os.strerror(errno.ENOLCK)):
            use()
    assert open_below(root) == before


def test_two_sweeps_at_once(mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".datasync/staging/leftover").touch()
    real = os.unlink

    def faster(name: bytes, *, dir_fd: int) -> None:
        real(name, dir_fd=dir_fd)
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", faster)
    assert mirror.sweep() == 0


def test_reading_in_pieces(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: real(fd, min(length, 3), at))
    with mirror.stage() as staged:
        staged.write(b"0123456789")
        assert staged.read_at(1, 8) == b"12345678"
        assert staged.read_at(5, 100) == b"56789"


def test_a_disk_that_cannot_be_read_is_said_so(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", refuse)
    with mirror.stage() as staged, pytest.raises(MirrorError, match=os.strerror(errno.EIO)):
        staged.read_at(0, 1)


def test_a_file_system_that_does_not_count_is_never_full(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = list(os.statvfs("/"))
    counts[2] = counts[4] = 0  # f_blocks, f_bavail
    monkeypatch.setattr(os, "statvfs", lambda folder: os.statvfs_result(counts))
    mirror.stage(2**60).discard()
    assert mirror.check() is None


def test_closing_makes_nobody_unable_to_stage(mirror: Mirror, root: Path) -> None:
    mirror.close()
    put(mirror, "a", b"1")
    mirror.close()
    mirror.close()
    assert os.listdir(root / ".datasync/staging") == []


def test_a_mirror_that_was_not_prepared_writes_nothing(root: Path) -> None:
    root.mkdir()
    mirror = Mirror(root)
    with pytest.raises(MirrorUnavailable):
        mirror.stage()
    assert mirror.stat_many(["a"]) == [None]
    assert mirror.trash_entries() == []
    assert os.listdir(root) == []
