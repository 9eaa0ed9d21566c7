"""The benchmark removes nothing from a disk while it measures: what follows would be slower."""

import os
from pathlib import Path

import pytest

from benchmarks.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder, attic = tmp_path / "measured", tmp_path / "attic"
    folder.mkdir()
    attic.mkdir()
    return Site(folder, attic)


def used(site: Site, name: str = "rclone") -> Path:
    folder = site.folder / name
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.bin").write_bytes(b"x" * 100_000)
    os.mkfifo(folder / "wake")
    return folder


def test_used_files_stay_on_the_disk_without_their_bytes(site: Site) -> None:
    numbers = set()
    for _ in range(2):
        folder = used(site)
        numbers.add((folder / "data" / "a.bin").stat().st_ino)
        site.put_away(folder)
        assert not folder.exists()
    assert site.attic is not None
    kept = [path.stat() for path in site.attic.rglob("*.bin")]
    assert {each.st_ino for each in kept} == numbers
    assert {each.st_blocks for each in kept} == {0}


def test_what_is_left_at_the_end_is_put_away_too(site: Site) -> None:
    used(site, "service")
    used(site, "bare")
    (site.folder / "manifest").write_text("a file of the server")
    site.close()
    assert os.listdir(site.folder) == ["manifest"]


def test_in_memory_used_files_are_removed_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    folder = used(site)
    site.put_away(folder)
    assert os.listdir(tmp_path) == []
