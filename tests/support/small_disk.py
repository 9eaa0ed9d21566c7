"""A program that runs DataSync on a disk that is really full, read-only or out of descriptors.

    python -m tests.support.small_disk <folder> <story>

The kernel refuses, nobody plays it. Stories named `tmpfs_...` mount a small file system, so they
run in a mount namespace of their own (see `in_namespace`), which takes the mount with it.
Exits with a traceback when anything is not as it must be.
"""

import errno
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from datasync.errors import DataSyncError, DiskFull, MirrorUnavailable, TooManyOpenFiles
from datasync.models.sync_models import Run, RunStatus
from datasync.services.engine import shortage
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import Mirror
from datasync.services.s3_sync_service import S3SyncService
from tests.support.world import IDENTITY, OPTIONS, World, eventually

MIB = 2**20


class Greedy(World):
    """A world that keeps no room free: the kernel has to refuse."""

    min_free_percent = 0.0

    def open(self) -> None:
        self.mirror = Mirror(self.root, min_free_percent=self.min_free_percent)
        self.mirror.prepare(bucket_identity=IDENTITY)
        self.ledger = Ledger.open(sqlite_url(self.root / ".datasync" / "ledger.db"))
        self.service = S3SyncService(self.bucket, self.mirror, self.ledger, self.options)


class Careful(Greedy):
    """A world that keeps much room free."""

    min_free_percent = 10.0


def reasons(world: World, run: Run) -> dict[str, str]:
    """The error class of each failed key of a run."""
    told = world.ledger.outcomes(run_id=run.id)
    return {outcome.key: outcome.error for outcome in told if outcome.error}


def mount(folder: Path, mib: int) -> None:
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def fill(path: Path, leave: int = 0) -> None:
    """Take all the room there is, but for `leave` bytes."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)) == 65536:
            pass
        while file.write(bytes(4096)):
            pass
    os.truncate(path, max(0, path.stat().st_size - leave))


# Stories


def tmpfs_full(folder: Path) -> None:
    """ENOSPC from the kernel, in staging and then in the ledger; and how it ends."""
    mount(folder / "mirror", 12)
    world = Greedy(folder)
    world.bucket.put("kept", b"old")
    world.bucket.put("gone", b"old")
    assert world.sync().status is RunStatus.SUCCESS
    world.bucket.put("large", os.urandom(20 * MIB))
    world.bucket.put("kept", b"new")
    run = world.sync()
    assert reasons(world, run) == {"large": "DiskFull"}, reasons(world, run)
    assert world.tree() == {"kept": b"new", "gone": b"old"}
    world.assert_nothing_staged()

    ballast = world.root / ".datasync" / "ballast"
    fill(ballast)
    world.bucket.delete("large")
    world.bucket.delete("gone")
    world.bucket.put("kept", b"newer")
    said = []
    for attempt in (world.sync, lambda: world.service.mark([("kept", "event")])):
        try:
            attempt()
        except DataSyncError as error:
            said.append(f"{type(error).__name__}: {error}")
    assert any("DiskFull" in text for text in said), said
    assert world.tree()["kept"] in (b"new", b"newer")
    assert isinstance(world.mirror.check(), DiskFull)
    ballast.unlink()
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    assert world.in_sync
    world.close()


def tmpfs_start(folder: Path) -> None:
    """A start on a full disk: either it works, or it names the cause; old trash makes room."""
    mount(folder / "mirror", 12)
    options = replace(OPTIONS, trash_retention_seconds=-1e9, delete_limit_files=100)
    world = World(folder, options)
    for number in range(3):
        world.bucket.put(f"{number}", os.urandom(2 * MIB))
    world.bucket.put("kept", b"old")
    world.sync()
    for number in range(3):
        world.bucket.delete(f"{number}")
    world.sync()
    assert world.trash() == ["0", "1", "2"]
    fill(world.root / ".datasync" / "ballast")
    world.close()
    shortage.LOOK_SECONDS = 0.05
    world.bucket.put("new", os.urandom(3 * MIB))
    world.open()
    world.service.start()
    eventually(lambda: world.trash() == [], 20)
    eventually(lambda: world.service.leading, 20)
    run = world.perform()
    assert run.status is RunStatus.SUCCESS, run
    world.assert_equal()
    world.close()


def tmpfs_pause(folder: Path) -> None:
    """MIN_FREE_DISK_PERCENT: the pause comes before the disk is full, and ends by itself."""
    mount(folder / "mirror", 64)
    shortage.LOOK_SECONDS = 0.05
    world = Careful(folder)
    world.service.start()
    fill(world.root / ".datasync" / "ballast", leave=14 * MIB)
    for number in range(6):
        world.bucket.put(f"{number}", os.urandom(2 * MIB))
    run = world.perform()
    assert run.status is RunStatus.PARTIAL, run
    assert run.counts.downloaded >= 1
    assert set(reasons(world, run).values()) == {"DiskFull"}
    space = os.statvfs(world.root)
    assert space.f_bavail >= space.f_blocks / 10, "the limit was passed"
    (world.root / ".datasync" / "ballast").unlink()
    eventually(lambda: world.in_sync, 20)
    world.assert_equal()
    world.close()


def tmpfs_read_only(folder: Path) -> None:
    """EROFS from the kernel: a start says so and changes nothing; a later one does its work."""
    mount(folder / "mirror", 12)
    world = World(folder)
    for key in ("kept", "gone"):
        world.bucket.put(key, b"old")
    world.sync()
    world.bucket.put("kept", b"new")
    world.bucket.delete("gone")
    world.close()
    _mount("-o", "remount,ro", str(world.root))
    try:
        world.open()
    except MirrorUnavailable as error:
        assert os.strerror(errno.EROFS) in str(error)
    else:
        raise AssertionError("nothing was refused")
    assert world.tree() == {"kept": b"old", "gone": b"old"}
    _mount("-o", "remount,rw", str(world.root))
    world.open()
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    world.close()


def tmpfs_below(folder: Path) -> None:
    """A folder from elsewhere on the same disk, mounted in the mirror and in its trash."""
    mount(folder / "disk", 12)
    world = World(folder / "disk")
    outside = folder / "disk" / "outside"
    outside.mkdir()
    (outside / "theirs").write_bytes(b"x")
    old = world.root / ".datasync/trash/20200101T000000Z-x/mounted"
    for place in (world.root / "in" / "there", old):
        place.mkdir(parents=True)
        _mount("--bind", str(outside), str(place))
    for key in ("in/there/a", "in/there/sub/a", "in/there/theirs", "in/here"):
        world.bucket.put(key, b"y")
    run = world.sync()
    assert run.status is RunStatus.PARTIAL
    failed = reasons(world, run)
    assert set(failed) == {"in/there/a", "in/there/sub/a", "in/there/theirs"}, failed
    assert set(failed.values()) == {"PathConflict"}, failed
    with suppress(DataSyncError):
        world.mirror.prune_trash(0, 4e9)
    assert os.listdir(outside) == ["theirs"], os.listdir(outside)
    assert (outside / "theirs").read_bytes() == b"x"
    world.assert_nothing_staged()
    world.close()


def descriptors(folder: Path) -> None:
    """EMFILE from the kernel: no file is touched, and all goes on when there are some again."""
    world = World(folder)
    for number in range(20):
        world.bucket.put(f"folder/{number}", b"old")
    world.sync()
    for number in range(20):
        world.bucket.put(f"folder/{number}", b"new")
    gets = world.bucket.counts["get"]
    taken = [os.open(os.devnull, os.O_RDONLY)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 1, hard))
    try:
        world.sync()
    except TooManyOpenFiles as error:
        assert os.strerror(errno.EMFILE) in str(error)
    else:
        raise AssertionError("nothing was refused")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert world.bucket.counts["get"] == gets
    assert set(world.tree().values()) == {b"old"}
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    world.close()


def file_size(folder: Path) -> None:
    """EFBIG from the kernel, where no mount is allowed: one key fails, the others go on."""
    world = Greedy(folder)
    world.bucket.put("large", b"old")
    world.sync()
    world.bucket.put("large", os.urandom(20 * MIB))
    world.bucket.put("small", b"fine")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, hard))
    run = world.sync()
    assert reasons(world, run) == {"large": "MirrorError"}, reasons(world, run)
    assert world.tree() == {"large": b"old", "small": b"fine"}
    world.assert_nothing_staged()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert world.sync().status is RunStatus.SUCCESS
    world.assert_equal()
    world.close()


STORIES = {
    story.__name__: story
    for story in (
        *(tmpfs_full, tmpfs_start, tmpfs_pause, tmpfs_read_only, tmpfs_below),
        *(descriptors, file_size),
    )
}


def in_namespace() -> list[str] | None:
    """The words before a command that give it mounts of its own; None where that is forbidden."""
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        allowed = subprocess.run(
            [*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, timeout=30
        )
    except OSError:
        return None
    return words if allowed.returncode == 0 else None


if __name__ == "__main__":
    STORIES[sys.argv[2]](Path(sys.argv[1]))
