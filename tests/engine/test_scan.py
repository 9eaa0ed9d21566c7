"""The comparison of a listing with ledger and disk: passing over what is as it was costs nothing,
and changes nothing of what is found.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.models.sync_models import (
    Action,
    FileStat,
    ListedObject,
    ObjectRow,
    RunStatus,
    Settlement,
    State,
    SyncOptions,
)
from datasync.services.engine.scan import Scan
from datasync.services.storage.ledger import Ledger, Stretch
from tests.support.world import OPTIONS, World

BODY = b"body"
ELSEWHERE = "elsewhere"

Disk = Callable[[Path], object]
DISKS: dict[str, Disk] = {
    "as left": lambda file: None,
    "absent": lambda file: file.unlink(),
    "touched": lambda file: os.utime(file, ns=(1, 1)),
    "rewritten": lambda file: file.write_bytes(b"other body"),
    "a folder": lambda file: file.rename(f"{file}~").parent.joinpath(file.name).mkdir(),
    "a link": lambda file: os.symlink(file.rename(f"{file}~"), file),
}
ROWS: dict[str, Callable[[ObjectRow], ObjectRow | None]] = {
    "as listed": lambda row: row,
    "none": lambda row: None,
    "another ETag": lambda row: replace(row, etag="other"),
    "another size": lambda row: replace(row, size=row.size + 1),
    "another date": lambda row: replace(row, last_modified=row.last_modified - 1),
    "another size on disk": lambda row: replace(row, local_size=row.size + 1),
    "no time": lambda row: replace(row, mtime_ns=None),
    "nothing stored": lambda row: replace(row, path=None, local_size=None, mtime_ns=None),
    "stored elsewhere": lambda row: replace(row, path=f"{row.key}{ELSEWHERE}"),
    **{
        state.value: lambda row, state=state: replace(row, state=state)  # type: ignore[misc]
        for state in State
        if state is not State.SYNCED
    },
}


class ThoroughScan(Scan):
    """Decides every key: the law, at the price of a row and a listed object for each."""

    def _differing(
        self, page: Sequence[ListedObject], stretch: Stretch
    ) -> tuple[Sequence[ListedObject], list[ObjectRow]]:
        rows = self.ledger.get_many(stretch.keys())
        return page, [rows[key] for key in sorted(rows)]


def everything(world: World) -> None:
    """A key for every way in which listing, row and file may agree or not."""
    rows = []
    for name, change in ROWS.items():
        for disk, happens in DISKS.items():
            for is_listed in (True, False):
                key = f"{name}/{disk}/{is_listed}"
                world.bucket.put(key, BODY)
                listed = world.bucket.objects[key].listed(key)
                if not is_listed:
                    world.bucket.delete(key)
                row = change(_row(listed))
                file = world.root / (row.path if row is not None and row.path else key)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(BODY)
                if row is not None:
                    if row.mtime_ns is not None:
                        row = replace(row, mtime_ns=file.stat().st_mtime_ns)
                    rows.append(row)
                happens(file)
    world.ledger.settle(Settlement(rows=tuple(rows)))


def _row(listed: ListedObject) -> ObjectRow:
    return ObjectRow(
        listed.key,
        listed.etag,
        listed.size,
        listed.last_modified,
        State.SYNCED,
        path=listed.key,
        local_size=listed.size,
        mtime_ns=1,
    )


def found_by(scan: Scan) -> tuple[list[Action], dict[str, FileStat], int, int]:
    """All that a scan has to tell: actions, files, and how many keys were listed and unchanged."""
    steps = list(scan.steps())
    actions = [action for step in steps for action in step.actions]
    files = {key: file for step in steps for key, file in step.files.items()}
    return actions, files, scan.listed, sum(step.unchanged for step in steps)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(
    "options", [OPTIONS, replace(OPTIONS, skip_existing=False), replace(OPTIONS, max_bytes=1)]
)
@pytest.mark.parametrize("page_size", [1000, 7])
def test_passing_over_what_is_unchanged_changes_nothing_of_what_is_found(
    world: World, options: SyncOptions, verify: bool, page_size: int
) -> None:
    everything(world)
    world.bucket.page_size = page_size
    given = (world.bucket, world.ledger, world.mirror, options, "", verify)

    found = found_by(Scan(*given))

    assert found == found_by(ThoroughScan(*given))
    assert found[0] and found[2] == len(ROWS) * len(DISKS)


def test_for_unchanged_files_no_row_is_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        world.bucket.put(f"d{number % 3}/{number:02}", BODY)
    world.bucket.page_size = 10
    assert world.sync().status is RunStatus.SUCCESS
    world.file("d1/13").touch()
    asked: list[str] = []
    real = Ledger.get_many

    def get_many(ledger: Ledger, keys: Sequence[str]) -> dict[str, ObjectRow]:
        asked.extend(keys)
        return real(ledger, keys)

    monkeypatch.setattr(Ledger, "get_many", get_many)
    scan = Scan(world.bucket, world.ledger, world.mirror, world.options, "")

    assert sum(step.unchanged for step in scan.steps()) == 29
    assert asked == ["d1/13"]
