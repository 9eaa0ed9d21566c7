"""Folders that are swapped for links while real transfers run: all or nothing, and none outside."""

from contextlib import suppress
from pathlib import Path

from datasync.errors import DataSyncError
from tests.support.planting import everything, swapping
from tests.support.world import World


def test_a_folder_swapped_for_a_link_in_a_loop_while_transfers_run(
    world: World, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    for name in ("a", "e/a", "gone"):
        (outside / name).write_bytes(b"not ours")
    before = everything(outside)
    world.reopen(delete_limit_percent=100.0)
    with swapping(world.root, outside, "d", "d/e", seconds_between=0.002):
        for number in range(25):
            for key in ("d/a", "d/e/a", "d/e/f/a", "beside"):
                world.bucket.put(key, f"{number}".encode())
            world.bucket.put("d/gone", b"x") if number % 2 else world.bucket.delete("d/gone")
            with suppress(DataSyncError):
                world.sync()
            assert (world.root / "beside").read_bytes() == f"{number}".encode()
    assert everything(outside) == before
    world.sync()
    for key, stored in world.bucket.objects.items():
        assert world.file(key).read_bytes() == stored.body
    world.assert_nothing_staged()
