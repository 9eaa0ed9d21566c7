"""Cost follows change, not size: what an unchanged bucket costs, in memory and in requests."""

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from datasync.models.sync_models import FileStat, ObjectRow, RunKind, RunStatus, Settlement, State
from datasync.services.engine import commit, proof
from datasync.services.engine.group import Done
from datasync.services.engine.scan import Scan
from datasync.services.engine.tasks import Result
from tests.support.world import World

MIB = 2**20
Fill = Callable[[World, int], None]


def markers(world: World, keys: int) -> None:
    """So many keys that are folder markers: they need no files."""
    for number in range(keys):
        world.bucket.put(f"{number:06}/")
    assert world.sync().status is RunStatus.SUCCESS


def files(world: World, keys: int) -> None:
    """So many keys whose files are there, without the work of a run."""
    for number in range(len(world.bucket.objects), keys):
        world.bucket.put(f"{number:06}", b"x")
        (world.root / f"{number:06}").write_bytes(b"x")
    rows = []
    for key, stored in world.bucket.objects.items():
        time = (world.root / key).stat().st_mtime_ns
        row = ObjectRow(key, stored.etag, 1, stored.last_modified, State.SYNCED, key, 1, time)
        rows.append(row)
    world.ledger.settle(Settlement(rows=tuple(rows)))


def compared(world: World, keys: int, fill: Fill) -> int:
    """Bytes that comparing a bucket of so many unchanged keys needs at its peak."""
    fill(world, keys)
    world.bucket.counts.clear()
    scan = Scan(world.bucket, world.ledger, world.mirror, world.options, "")
    tracemalloc.start()
    try:
        unchanged = sum(step.unchanged for step in scan.steps())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert unchanged == keys
    assert dict(world.bucket.counts) == {"list": keys // world.bucket.page_size}
    return peak


@pytest.mark.parametrize("fill", [markers, files])
def test_memory_does_not_grow_with_the_bucket(world: World, fill: Fill) -> None:
    few, many = compared(world, 3_000, fill), compared(world, 15_000, fill)
    assert many - few < MIB


def test_the_listing_is_read_only_a_little_ahead_of_its_comparison(world: World) -> None:
    world.bucket.page_size = 10
    for number in range(500):
        world.bucket.put(f"{number:06}/")
    world.sync()
    world.bucket.counts.clear()
    scan = Scan(world.bucket, world.ledger, world.mirror, world.options, "")

    steps = scan.steps()
    next(steps)

    assert world.bucket.counts["list"] <= 4
    assert sum(step.unchanged for step in steps) == 490


def test_rows_that_no_listing_speaks_of_are_taken_in_pieces(world: World) -> None:
    for number in range(2_500):
        world.bucket.put(f"{number:06}/")
    world.sync()
    world.bucket.list_empty()
    scan = Scan(world.bucket, world.ledger, world.mirror, world.options, "")

    sizes = [len(step.actions) for step in scan.steps()]

    assert sum(sizes) == 2_500
    assert max(sizes) <= 1_000


@pytest.mark.timeout(60)
def test_what_a_run_finds_bit_by_bit_is_committed_in_few_groups(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group costs rounds of fsync and a transaction, however small it is."""
    groups, commit_group = list[int](), commit.Committer._commit

    def counted(committer: commit.Committer, batch: Sequence[Result]) -> list[Done]:
        groups.append(len(batch))
        return commit_group(committer, batch)

    monkeypatch.setattr(commit.Committer, "_commit", counted)
    monkeypatch.setattr(commit, "GATHER_SECONDS", 600)  # the end of the listing ends it, no clock
    world.bucket.page_size = 10
    for number in range(commit.GATHERED + 50):
        world.bucket.put(f"{number:06}", b"x")
    assert world.sync().status is RunStatus.SUCCESS
    assert sum(groups) == commit.GATHERED + 50
    assert len(groups) <= 3


def test_small_files_that_only_s3_can_prove_are_read_twice_at_most(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to be told that the ETag is no MD5, once to be proved by what S3 says when asked."""
    for number in range(3):
        world.bucket.put(
            f"{number}", b"x" * 9, encryption="aws:kms", etag=f"{number}" * 32, checksum="sha256"
        )
    world.sync()
    read, matches = list[str](), proof._file_matches

    def counted(open_file: Callable[[str], int], file: FileStat, *more: Any) -> bool:
        read.append(file.path)
        return matches(open_file, file, *more)

    monkeypatch.setattr(proof, "_file_matches", counted)
    assert world.sync(kind=RunKind.VERIFY).status is RunStatus.SUCCESS
    assert sorted(read) == ["0", "0", "1", "1", "2", "2"]
