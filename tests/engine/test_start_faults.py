"""Every step of a start, of a restore and of emptying the trash, and every cause to fail."""

import errno
import itertools
import os
from pathlib import Path

import pytest

from datasync.errors import DataSyncError
from datasync.models.sync_models import FileStat
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import Mirror
from tests.support.disk import MTIME, open_below, put, tree
from tests.support.faults import CAUSES, Faults, faults, reason

__all__ = ["faults"]
ALL = os.environ.get("DISK_FAULTS") == "all"
pytestmark = pytest.mark.timeout(900 if ALL else 60)
BODY = b"kept whatever happens"


def prepare(root: Path) -> None:
    """A start on a new directory, and the first file."""
    with Mirror(root) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        put(mirror, "folder/a", BODY)


def start(root: Path) -> list[str]:
    """A start on a mirror, a file to the trash and back; what was said of what went wrong."""
    said: list[str] = []
    try:
        with Mirror(root) as mirror:
            mirror.prepare(bucket_identity="s3://bucket")
            mirror.sweep()
            removed = mirror.remove([FileStat("folder/a", 0, 0)], label="x")
            said += [str(one) for one in removed if isinstance(one, Exception)]
            said += [str(one.error) for one in mirror.restore(prefix="folder/") if one.error]
            mirror.touch("folder/a", MTIME)
            Ledger.open(sqlite_url(root / ".datasync/ledger.db")).close()
    except DataSyncError as error:
        said.append(str(error))
    return said


def homes(root: Path) -> list[bytes]:
    """The file, in its place or in the trash."""
    found = [path for path in root.rglob("a") if path.is_file()]
    return [path.read_bytes() for path in found]


def test_a_start_that_fails_says_why_and_the_next_one_is_well(
    tmp_path: Path, faults: Faults
) -> None:
    root = tmp_path / "mirror"
    prepare(root)
    assert start(root) == []
    faults.seen.clear()
    assert start(root) == []
    marker = (root / ".datasync/mirror.json").read_bytes()
    bad = []
    for index, point in enumerate(sorted(faults.seen)):
        for number in CAUSES if ALL else [CAUSES[index % len(CAUSES)]]:
            with faults.on(point, number):
                said = start(root)
            named = any(reason(number, point) in text for text in said)
            torn = homes(root) != [BODY]
            leaked = leaks(root)
            put_back(root)
            if (
                torn
                or leaked
                or (said and not named)
                or start(root)
                or tree(root) != {"folder/a": BODY}
            ):
                bad.append((point, errno.errorcode[number], said, torn, leaked))
    assert bad == []
    assert (root / ".datasync/mirror.json").read_bytes() == marker


def leaks(root: Path) -> int:
    return open_below(root) if root.exists() else 0


def put_back(root: Path) -> None:
    """What an operator does when a fault kept a file from coming back."""
    with Mirror(root) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        mirror.restore(prefix="")


def test_a_first_start_that_fails_leaves_a_directory_that_can_be_started(
    tmp_path: Path, faults: Faults
) -> None:
    prepare(tmp_path / "watched")
    roots, bad = itertools.count(), []
    for index, point in enumerate(sorted(faults.seen)):
        for number in CAUSES if ALL else [CAUSES[index % len(CAUSES)]]:
            root, said = tmp_path / str(next(roots)), ""
            with faults.on(point, number):
                try:
                    prepare(root)
                except (DataSyncError, AssertionError) as error:  # the latter: not published
                    said = str(error)
            if (said and reason(number, point) not in said) or leaks(root):
                bad.append((point, errno.errorcode[number], said))
            prepare(root)
            if tree(root) != {"folder/a": BODY}:
                bad.append((point, errno.errorcode[number], str(tree(root))))
    assert bad == []
